class Odd(Exception):
    def __str__(self):
        raise SystemExit("no text")


def application(environ, start_response):
    raise Odd
