"""Load the tenant's WSGI file: one function, and one exception that says how far it came."""

from __future__ import annotations

import os
import stat
import sys
from _frozen_importlib import ModuleSpec  # importlib.machinery's own, and there already
from _frozen_importlib_external import SourceFileLoader

from user_wsgi_wrapper.runtime.failure import describe
from user_wsgi_wrapper.runtime.source_code import compiled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

    from _typeshed.wsgi import WSGIApplication

CALLABLE = "application"  # PEP 3333 leaves the name to servers; uWSGI and mod_wsgi look for this one
FALLBACK_NAME = "user_wsgi_file"
PHASES = ("read", "compile", "import", "name", "callable", "death")
_CO_COROUTINE = 0x80  # inspect.CO_COROUTINE
_CO_ASYNC_GENERATOR = 0x200  # inspect.CO_ASYNC_GENERATOR


# At its end the interpreter clears the modules that somebody still holds. The server holds the application for ever,
# and with it the module's variables: without the module they would never go, nor what his files hold be written out.
_loaded: list[object] = []


class WsgiLoadError(Exception):
    """The file gave no application. `phase` is one of PHASES; the cause, if any, is the tenant's exception.

    In the phase `death` it wasn't run at all: it ended the workers that did, which has its own record. `advice` is
    what to do, for whom the error page may show it; `is_reported` says that its record is written.
    """

    advice = ""
    is_reported = False

    def __init__(self, path: str, phase: str, message: str) -> None:
        super().__init__(path, phase, message)
        self.path = path
        self.phase = phase
        self.message = message

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class _FreshLoader(SourceFileLoader):
    """Compiles the source at hand. Bytecode caches compare whole seconds of mtime: a second save would be missed."""

    def __init__(self, name: str, path: str, source: bytes) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return compiled(self._source, self.path)


def load(path: str, source: bytes | None = None) -> WSGIApplication:
    """The `application` of the file at `path`. Raises WsgiLoadError and nothing else.

    The file runs as the module named after it (`wsgi` for wsgi.py), so that its classes can be pickled here and
    unpickled by any program that can import it. `source` is run in place of what the file holds, if it is given.
    """
    path = os.path.abspath(path)
    name = module_name(path)
    loader = _FreshLoader(name, path, _read(path) if source is None else source)
    try:
        code = loader.get_code(name)
    except BaseException as error:
        raise WsgiLoadError(path, "compile", f"it can't be compiled: {describe(error)}") from error
    application = _run(name, path, loader, code)
    _check_callable(path, application)
    return application  # type: ignore[no-any-return]


def module_name(path: str) -> str:
    """The name that the file's module gets: its own, unless that is no identifier or is taken by another module."""
    name = os.path.splitext(os.path.basename(path))[0]
    taken = name in sys.modules or name in getattr(sys, "stdlib_module_names", ())
    return name if name.isidentifier() and not taken else FALLBACK_NAME


def _read(path: str) -> bytes:
    try:
        # O_NONBLOCK: opening a FIFO would wait for a writer for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        raise WsgiLoadError(path, "read", "there is no such file") from None
    except (OSError, ValueError) as error:
        raise WsgiLoadError(
            path, "read", f"it can't be opened: {getattr(error, 'strerror', None) or error}"
        ) from None
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise WsgiLoadError(path, "read", f"it is {_kind(mode)}, a regular file is needed")
        with open(fd, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        raise WsgiLoadError(path, "read", f"it can't be read: {error.strerror}") from None
    finally:
        os.close(fd)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _run(name: str, path: str, loader: _FreshLoader, code: CodeType) -> Any:
    module = type(sys)(name)
    spec = ModuleSpec(name, loader, origin=path)
    spec.has_location = True
    module.__spec__ = spec
    module.__loader__ = loader
    module.__file__ = path
    module.__package__ = ""
    sys.modules[name] = module
    _loaded.append(module)
    try:
        exec(code, module.__dict__)  # noqa: S102  the tenant's own code, in the tenant's own process
    except BaseException as error:
        if sys.modules.get(name) is module:
            del sys.modules[name]
        raise WsgiLoadError(path, "import", f"running it raised {describe(error)}") from error
    # What the module put in its own place in sys.modules is the module, as for an import statement.
    module = sys.modules.get(name, module)
    try:
        return getattr(module, CALLABLE)
    except AttributeError:
        raise WsgiLoadError(path, "name", f"it defines no {CALLABLE!r}") from None
    except BaseException as error:
        raise WsgiLoadError(path, "name", f"asked for {CALLABLE!r} it raised {describe(error)}") from error


def _check_callable(path: str, application: Any) -> None:
    if not callable(application):
        raise WsgiLoadError(
            path,
            "callable",
            f"its {CALLABLE!r} is of type {type(application).__name__}, a callable is needed (PEP 3333)",
        )
    if _is_async(application) or _is_async(type(application).__call__):
        raise WsgiLoadError(
            path,
            "callable",
            f"its {CALLABLE!r} is asynchronous (ASGI), this server calls WSGI applications (PEP 3333)",
        )
    # A class may be an application if its instances are the response (PEP 3333, "The Application/Framework Side").
    if isinstance(application, type) and not (
        hasattr(application, "__iter__") or hasattr(application, "__getitem__")
    ):
        name = application.__name__
        raise WsgiLoadError(
            path,
            "callable",
            f"its {CALLABLE!r} is the class {name}, whose instances can't be iterated; "
            f"an instance, {CALLABLE} = {name}(...), may be meant",
        )


def _is_async(function: Callable[..., Any] | None) -> bool:
    code = getattr(function, "__code__", None)
    return bool(getattr(code, "co_flags", 0) & (_CO_COROUTINE | _CO_ASYNC_GENERATOR))
