def application(environ, start_response):
    try:
        {}["key"]
    except KeyError as error:
        raise ValueError("the second") from error
