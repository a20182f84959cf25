"""The moments that `--since` takes. Pure."""

from __future__ import annotations

import re
import time

from user_wsgi_wrapper.site import BadValueError, shorten

_AGO = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_FORMS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_TIMES = ("%H:%M:%S", "%H:%M")


def parse(text: str, now: float) -> float:
    """Seconds since the epoch of `30m` (ago), `10:11` (today), `2012-08-24` and `2012-08-24 10:11:12`, local time.

    Raises BadValueError for what is none of them.
    """
    ago = _AGO.fullmatch(text)
    if ago:
        return now - int(ago[1]) * _SECONDS[ago[2]]
    spelled = text.replace("T", " ").partition(",")[0]
    today = time.strftime("%Y-%m-%d", time.localtime(now))
    for form in _FORMS + _TIMES:
        whole = spelled if form in _FORMS else f"{today} {spelled}"
        try:
            return time.mktime(time.strptime(whole, form if form in _FORMS else f"%Y-%m-%d {form}")[:8] + (-1,))
        except (ValueError, OverflowError):
            continue
    raise BadValueError(
        f"since {shorten(text)}: a time such as 30m, 2h, 3d, 10:11, 2012-08-24 or '2012-08-24 10:11:12' is needed"
    )
