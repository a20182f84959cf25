class application:
    def __init__(self, environ=None, start_response=None):
        pass

    def __call__(self, environ, start_response):
        start_response("200 OK", [])
        return []
