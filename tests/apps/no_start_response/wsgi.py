def application(environ, start_response):
    return [b"a body alone"]
