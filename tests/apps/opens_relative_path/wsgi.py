from project import texts


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [texts.read().encode()]
