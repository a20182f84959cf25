"""The access line of one request: nginx's combined format, the response time, the request's id. Pure."""

from __future__ import annotations

import time

from user_wsgi_wrapper.runtime.request import ID_LENGTH

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ESCAPES = {code: f"\\x{code:02X}" for code in [*range(32), *range(127, 256), ord('"'), ord("\\")]}


def render(
    address: str,
    when: time.struct_time,
    request: str,
    status: int,
    size: int,
    referrer: str,
    agent: str,
    seconds: float,
    request_id: str,
) -> str:
    """One line without its end, as the hosted site's access log has it.

    `when` is a local time, `size` the body's bytes, `seconds` how long the response took. Texts are as HTTP brought
    them, bytes as latin-1; they are escaped as nginx does.
    """
    return (
        f'{address} - - [{_date(when)}] "{escape(request)}" {status} {size} "{escape(referrer) or "-"}" '
        f'"{escape(agent) or "-"}" response-time={seconds:.3f} {request_id[:ID_LENGTH]}'
    )


def escape(text: str) -> str:
    """Text that can't end its quotes or its line, nor steer a terminal."""
    return text.translate(_ESCAPES)


def _date(when: time.struct_time) -> str:
    # strftime would use the locale that the application has set
    offset = when.tm_gmtoff // 60
    zone = f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}{abs(offset) % 60:02}"
    clock = f"{when.tm_hour:02}:{when.tm_min:02}:{when.tm_sec:02}"
    return f"{when.tm_mday:02}/{_MONTHS[when.tm_mon - 1]}/{when.tm_year}:{clock} {zone}"
