"""Says which of uWSGI's own variables have a name that is held from request to request, and what else is held."""

from user_wsgi_wrapper.runtime.core import _NAMES


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    held = {id(name) for name in _NAMES}
    anew = [name for name in environ if name.startswith(("wsgi.", "uwsgi.")) and id(name) not in held]
    visitors = [name for name in _NAMES if "HTTP" in name]
    return [f"{len(_NAMES) > 5} {anew} {visitors}".encode()]
