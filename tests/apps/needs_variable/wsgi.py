import os

key = os.environ['API_KEY_OF_THE_SITE']

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
