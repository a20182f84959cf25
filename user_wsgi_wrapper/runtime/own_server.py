"""Advice for code that starts a server of its own while the site is loaded: `app.run()` and its kin."""

from __future__ import annotations

from user_wsgi_wrapper.runtime.origin import file_of, is_own, loading, module_of, name_of, places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from user_wsgi_wrapper.runtime.origin import Place

_READ = 1 << 18  # bytes
# Module and function that the tenant's own line called, and what he calls it.
_RUNS = {
    ("flask.app", "run"): "Flask's run()",
    ("werkzeug.serving", "run_simple"): "werkzeug's run_simple()",
    ("bottle", "run"): "bottle's run()",
    ("waitress", "serve"): "waitress's serve()",
    ("uvicorn.main", "run"): "uvicorn's run()",
    ("aiohttp.web", "run_app"): "aiohttp's run_app()",
    ("cherrypy", "quickstart"): "cherrypy's quickstart()",
}
# These may also serve something beside the site: only if it is the site's own application, or the file has none.
_SOCKETS = {
    ("wsgiref.simple_server", "make_server"): "wsgiref's make_server()",
    ("http.server", "test"): "http.server's test()",
    ("socketserver", "__init__"): "a server of http.server's or socketserver's",
    ("socketserver", "serve_forever"): "serve_forever()",
}


def advise(error: BaseException, wsgi_file: str) -> str:
    """What to do about an exception, `SystemExit` for one, that a server started by the site's own code raised."""
    if not isinstance(error, (OSError, SystemExit, ValueError, KeyboardInterrupt)):
        return ""
    return advise_places(places(error), wsgi_file)


def advise_places(found: list[Place], wsgi_file: str) -> str:
    """The same for a stack, outermost frame first: of an import that still runs, for instance."""
    names = loading(found, wsgi_file)
    if names is None:
        return ""
    for caller, called in zip(found, found[1:]):
        if not is_own(file_of(caller)):
            continue
        key = (str(module_of(called)), called[0].f_code.co_name)
        what = _RUNS.get(key) or _SOCKETS.get(key)
        if what and (key in _RUNS or _is_the_site(called, names, wsgi_file)):
            more = ""
            if key[0] == "bottle" and "application" not in names and _runs_default(called):
                more = ", and write `application = bottle.default_app()` outside of it"
            return (
                f"{name_of(caller)} starts a server of its own, {what}, while the site is loaded; the site's server "
                f"calls `application` by itself: put that call under `if __name__ == '__main__':`{more}"
            )
    return ""


def _is_the_site(place: Place, names: dict[str, Any], wsgi_file: str) -> bool:
    served = place[0].f_locals.get("app")
    if served is not None and served is names.get("application"):
        return True
    with open(wsgi_file, "rb") as file:
        return b"application" not in file.read(_READ)


def _runs_default(place: Place) -> bool:
    stack = place[0].f_globals.get("default_app")
    return isinstance(stack, list) and len(stack) > 0 and stack[-1] is place[0].f_locals.get("app")
