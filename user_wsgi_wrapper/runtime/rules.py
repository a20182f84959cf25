"""The rules of the advice, the certain ones first. Loaded with the first failure: a site that works pays nothing.

They lie in this package, so no module of the tenant's can be found in their place, and they import nothing but what
the runtime has loaded before the tenant's code.
"""

from __future__ import annotations

from user_wsgi_wrapper.runtime import (
    callable_name,
    database_file,
    django_setup,
    file_access,
    missing_module,
    own_server,
    refused_host,
    shadow,
    source_fault,
)
from user_wsgi_wrapper.runtime.loader import WsgiLoadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType


def apply(error: BaseException, wsgi_file: str) -> str:
    """What the first rule says that knows the exception; its cause is looked at separately."""
    if isinstance(error, WsgiLoadError):
        return callable_name.advise(wsgi_file) if error.phase == "name" and error.__cause__ is None else ""
    return (
        own_server.advise(error, wsgi_file)
        or source_fault.advise(error, wsgi_file)
        or shadow.advise(error)
        or django_setup.advise(error, wsgi_file)
        or missing_module.advise(error, wsgi_file)
        or refused_host.advise(error)
        or database_file.advise(error, wsgi_file)
        or file_access.advise(error, wsgi_file)
    )


def apply_to_running(stack: list[tuple[FrameType, int]], wsgi_file: str) -> str:
    """What the rules know of a load that is still running; its frames and lines, the outermost first."""
    return own_server.advise_places(stack, wsgi_file)
