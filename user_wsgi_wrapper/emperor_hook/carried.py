"""What `site import` has found in a file of others: sites, what can't be carried over, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass

from user_wsgi_wrapper.site import Site


@dataclass(frozen=True)
class Entry:
    """A site and where it was found, `FILE:LINE`."""

    where: str
    site: Site


@dataclass(frozen=True)
class Carried:
    """`notes` tell, a line each, what has no counterpart here or is left to do; one of `errors` refuses it all."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    def __add__(self, other: Carried) -> Carried:
        return Carried(self.entries + other.entries, self.notes + other.notes, self.errors + other.errors)
