import pickle


class Basket:
    pass


def application(environ, start_response):
    found = type(pickle.loads(pickle.dumps(Basket()))) is Basket
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{Basket.__module__} {found}".encode()]
