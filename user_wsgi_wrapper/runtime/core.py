"""uWSGI's shortest way through the guard, for what nearly every request is: a head seen before and a list of bytes.

A core of uWSGI (a thread, or a slot of its asynchronous modes) serves one request at a time. So what the guard has to
know of a request lies in a variable that its core keeps, and no object is made for it. Everything else (a head never
seen, a second start_response, write(), any other result, a failure) goes the way of every other server, through
`Exchange` and `Capture`. Each line of `start` and of `respond` is counted: bench/wrapper_overhead.py.
"""

from __future__ import annotations

import sys

from user_wsgi_wrapper.runtime import connection
from user_wsgi_wrapper.runtime.capture import GAVE, GUARDED_FILES, IN_BODY, IN_CALL, IN_CLOSE, Body, Capture
from user_wsgi_wrapper.runtime.disconnect import is_hung_up
from user_wsgi_wrapper.runtime.exchange import Exchange
from user_wsgi_wrapper.runtime.pep3333 import KNOWN_STATUSES, check_chunk, check_headers, check_status
from user_wsgi_wrapper.runtime.result import is_upgrade, not_started

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from user_wsgi_wrapper.runtime.streams import ErrorStream

    Application = Callable[..., Any]

KNOWN_TYPES = 64
# uWSGI has the names of its own variables interned anew for each request, and dropped at its end: as long as they
# live here, its lookup finds them, which spares a request more than all that stands below costs it.
_NAMES: set[str] = set()
_GENERATOR = type(_ for _ in ())


def serving(capture: Capture, prepare: Callable[[int], None], flags: Any) -> Application:
    """The application to give to uWSGI and to nobody else: `capture.respond`, shorter where it can be.

    `prepare` is called once in each core's thread, with its number, before that thread's first request. `flags` has a
    byte for each core, which is 1 while the application is at a request there.
    """
    # With this option uWSGI takes bytes for what PEP 3333 says they are: an iterable of numbers.
    if connection.option("wsgi-strict") is not None:
        return capture.respond

    def leave(environ: dict[str, Any]) -> None:
        flags[environ.get("uwsgi.core", 0)] = 0

    capture.leave = leave
    count = connection.UWSGI.cores
    cores = [_core(capture, prepare, flags, number, count > 1) for number in range(count)]
    if len(cores) == 1:
        return cores[0]

    def respond(environ: dict[str, Any], start_response: Application) -> Any:
        return cores[environ["uwsgi.core"]](environ, start_response)

    return respond


def _core(capture: Capture, prepare: Callable[[int], None], flags: Any, number: int, begins: bool) -> Application:
    # `begins`: whether a body may be closed before it was iterated, as in the asynchronous modes
    app: Application = capture.app
    parts, join = capture.pending.parts, b"".join
    known: str | None = None  # the status that came last, and the headers that came with it, all sound
    sound: list[tuple[str, str]] | None = None
    server: Any = None  # uWSGI's start_response and its write(), the same objects for all requests
    writer: Any = None
    told: Any = None  # in this request: nothing yet, then the headers, or an Exchange where more has to be known
    sending: Any = None  # not None while a body is iterated whose first bytes are out
    iterables: set[type] = set()  # types of results that are iterables and nothing more
    files: set[type] = set()  # types of results that are handed on as they are

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
        nonlocal told
        if told is None and status == known and headers == sound:
            told = headers
            server(status, headers)
            return write
        return begin(status, headers, exc_info)

    def begin(status: str, headers: list[tuple[str, str]], exc_info: Any) -> Any:
        nonlocal told, writer, known, sound
        if told is not None:
            return exchange().start(status, headers, exc_info)
        passed = check_status(status)
        check_headers(headers)
        if passed.startswith(("400 ", "500 ")) and Exchange.answered is not None:
            Exchange.answered(passed, exc_info)
        told = headers
        writer = server(passed, headers)
        if status in KNOWN_STATUSES:
            known, sound = status, headers.copy()
        return write

    def write(data: bytes, /) -> None:
        exchange()(data)

    def exchange() -> Exchange:
        nonlocal told, sending
        if type(told) is not Exchange:
            made = Exchange(server)
            if told is not None:
                made.headers, made.writer = told, writer
            if sending is not None:
                sending = made
            told = made
        if sending is not None:
            told.sent = True
        return told  # type: ignore[no-any-return]

    def respond(environ: dict[str, Any], start_response: Application) -> Any:
        nonlocal told
        told = None
        flags[number] = 1
        try:
            result = app(environ, start)
            if type(result) is list and told is not None and not parts:
                # uWSGI sends bytes without iterating; a single chunk is not copied
                result = join(result)
                flags[number] = 0
                return result
            if type(result) in files and told is not None and not parts:
                flags[number] = 0  # what follows is the server's
                return result
            if type(result) in iterables:
                return give(result, environ)
        except BaseException as error:
            if "result" not in locals():
                return failed(error, environ)
            # a list that can't be joined: what is wrong with it is found and said below
        return otherwise(result, environ)

    def otherwise(result: Any, environ: dict[str, Any]) -> Any:
        kind = type(result)
        try:
            given = capture.guard(result, environ, exchange())
            if _is_lasting(kind) and len(iterables) + len(files) < KNOWN_TYPES:
                if hasattr(kind, "read") and given is result:
                    files.add(kind)
                elif type(given) is Body and hasattr(kind, "close") and not hasattr(result, "read"):
                    iterables.add(kind)
        except BaseException as error:
            return failed(error, environ)
        if parts:
            capture.pending.flush()
        if type(given) is not Body:
            flags[number] = 0  # what follows is the server's
        return given

    def begun(result: Any, environ: dict[str, Any]) -> Iterator[bytes]:
        given = iterate(result, environ)
        next(given)
        return given

    def iterate(result: Any, environ: dict[str, Any]) -> Iterator[bytes]:
        """What `Body` does, as a generator: less is called."""
        nonlocal sending
        try:
            if begins:
                yield b""  # not sent: from here on close() reaches what stands below
            for chunk in result:
                if type(chunk) is not bytes:
                    check_chunk(chunk, GAVE)
                if sending is None:
                    if not chunk:
                        continue
                    if told is None:
                        raise not_started()
                    sending = told
                yield chunk
            if told is None and not is_upgrade(environ):
                raise not_started()
        except BaseException as error:
            if is_hung_up(error):
                raise
            answer = capture.fail(error, environ, exchange(), IN_BODY)
        else:
            return
        finally:
            sending = None
            try:
                result.close()
            except BaseException as error:
                capture.record(error, environ, IN_CLOSE)
            if parts:
                capture.pending.flush()
            flags[number] = 0
        yield from answer

    def failed(error: BaseException, environ: dict[str, Any]) -> Any:
        result = capture.fail(error, environ, exchange(), IN_CALL)
        if parts:
            capture.pending.flush()
        flags[number] = 0
        return result

    def opening(environ: dict[str, Any], start: Application) -> Any:
        """The application's place before the first request: what is known only then is asked for only then."""
        nonlocal app, server
        server = sys._getframe(1).f_locals["start_response"]
        _NAMES.update(name for name in environ if "wsgi" in name)
        _adopt(environ["wsgi.errors"], capture.errors)
        prepare(number)
        app = capture.app
        return app(environ, start)

    app = opening
    give = begun if begins else iterate
    return respond


def _is_lasting(kind: type) -> bool:
    """Whether a class lives on anyhow: one that was made in a request must not be kept, nor what it refers to."""
    return kind is _GENERATOR or getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind


def _adopt(stream: Any, errors: ErrorStream) -> None:
    """Have uWSGI's wsgi.errors, one file for all requests, lead to the log: so no request pays for replacing it."""
    if stream.buffer is not errors.buffer:
        stream.__init__(errors.buffer, errors.encoding, errors.errors, line_buffering=True)
        for name in ("write", "writelines", "flush", "close"):
            setattr(stream, name, getattr(errors, name))


GUARDED_FILES.add(serving.__code__.co_filename)
