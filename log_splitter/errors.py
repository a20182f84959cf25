"""What is wrong with a value, in one line.

The package's own, as user_wsgi_wrapper.site takes 15 ms to import: Apache starts us anew at every restart, and a pipe
that nobody reads yet holds lines that only we know of.
"""

from __future__ import annotations


class BadValueError(ValueError):
    """A value from the operator breaks a rule; str() is one line fit to print."""


def shorten(text: str, limit: int = 60) -> str:
    """A value quoted on one line for an error message, cut at `limit`."""
    return repr(text) if len(text) <= limit else repr(text[:limit]) + "…"
