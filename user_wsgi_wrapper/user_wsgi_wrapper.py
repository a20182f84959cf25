"""The entry: what uWSGI loads in every tenant's chroot (`file = /bin/user_wsgi_wrapper.py`).

Any other WSGI server takes it too: `from user_wsgi_wrapper.user_wsgi_wrapper import application`.
"""

# Short, as the server compiles it at each start.
import marshal
import os
import sys
from _frozen_importlib_external import MAGIC_NUMBER

_path = sys.path[:]
_here = os.path.dirname(os.path.abspath(__file__))
if not os.path.isdir(_here + "/runtime"):  # a copy of this file, in a chroot
    # inside.LIBRARY, where the package is a link to its current version: all imports must be from one
    _here = os.path.realpath("/opt/user_wsgi_wrapper/user_wsgi_wrapper")
_standard = os.path.dirname(os.path.abspath(os.__file__))
try:
    # The tenant's folder comes first on sys.path, as '' and '.': none of his modules may stand in for one of ours.
    sys.path[:] = [os.path.dirname(_here), _standard, _standard + "/lib-dynload"]
    try:  # all modules of one file; without it, or if it is another interpreter's, they are imported one by one
        with open(f"{_here}/runtime/__pycache__/bundle.{sys.implementation.cache_tag}.bin", "rb", 0) as _file:
            if _file.read(len(MAGIC_NUMBER)) == MAGIC_NUMBER:
                exec(marshal.loads(_file.read()), {"folder": _here})  # noqa: S102, S302
    except Exception:  # noqa: S110
        pass
    from user_wsgi_wrapper.runtime.wrapper import Settings, build_application

    application = build_application(Settings.from_environ(os.environ), _path)
except BaseException:
    sys.path[:] = _path
    sys.excepthook(*sys.exc_info())  # in the server's log: the fault is the installation's, not the tenant's

    def application(environ, start_response):  # type: ignore[no-untyped-def]
        """Answer 500, so that the server has something to call."""
        body = b"This site's wrapper could not be started; the server's log has the reason.\n"
        start_response(
            "500 Internal Server Error", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        )
        return [body]
