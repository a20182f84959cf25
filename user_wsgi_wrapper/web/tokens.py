"""Who may log in: tokens that the command line makes, of which only hashes are kept, in a file that is root's alone.

A token is 256 random bits, so one round of SHA-256 is all that its hash needs: nobody guesses what it hashes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import secrets
import threading
import time
from dataclasses import dataclass

from user_wsgi_wrapper.emperor_hook.atomic import write_if_changed
from user_wsgi_wrapper.emperor_hook.locks import locked
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, Site, parse_domain, parse_username, shorten

OPERATOR, TENANT, METRICS = "operator", "tenant", "metrics"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}")
_PREFIX = "uww_"  # so that scanners of repositories know one when they see it
_LONGEST = 200  # characters of what is taken for a token at all


class TokenError(Exception):
    """A token's name is taken or unknown, or the file can't be understood; str() is one line."""


@dataclass(frozen=True)
class Token:
    """Whom it lets see what. `kind` is operator, tenant or metrics; `digest` is SHA-256 in hexadecimal.

    A tenant's is for all sites of `username`, or for `sites`: each with the user whose it was when the token was
    made, so that a domain which comes to be another's is not shown to the one before.
    """

    name: str
    kind: str
    digest: str
    created: str
    username: str | None = None
    sites: tuple[tuple[str, str], ...] = ()

    def allows(self, site: Site) -> bool:
        """Whether who has it may see and change the site."""
        if self.kind == OPERATOR:
            return True
        if self.kind != TENANT:
            return False
        return site.username == self.username or (site.domain, site.username) in self.sites


def add(
    layout: Layout, name: str, kind: str, username: str | None = None, sites: tuple[tuple[str, str], ...] = ()
) -> str:
    """Make a token and give its text, which is kept nowhere. Raises BadValueError or TokenError."""
    if not _NAME.fullmatch(name):
        raise BadValueError(f"token name {shorten(name)}: 1 to 64 of letters, digits and _ . @ + - are allowed")
    text = _PREFIX + secrets.token_urlsafe(32)
    new = Token(name, kind, digest(text), time.strftime("%Y-%m-%d"), username, sites)
    with locked(layout, "web", "tokens"):
        known = read(layout)
        if name in known:
            raise TokenError(f"token {name}: there is one of this name already; revoke it first")
        _write(layout, {**known, name: new})
    return text


def revoke(layout: Layout, name: str) -> None:
    """Forget a token; who is logged in with it is logged out. Raises TokenError if there is none."""
    with locked(layout, "web", "tokens"):
        known = read(layout)
        if name not in known:
            raise TokenError(f"token {shorten(name)}: there is none of this name")
        _write(layout, {key: value for key, value in known.items() if key != name})


def digest(text: str) -> str:
    """The hash that stands for a token."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def read(layout: Layout) -> dict[str, Token]:
    """All tokens by name, in the order of their names. Raises TokenError for a file that isn't one of ours."""
    try:
        document = layout.web_tokens.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        tokens = [_parse(one) for one in json.loads(document)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise TokenError(f"{layout.web_tokens}: it is not a list of tokens ({error})") from None
    return {one.name: one for one in sorted(tokens, key=lambda one: one.name)}


def _parse(fields: dict[str, object]) -> Token:
    pairs = fields.get("sites") or ()
    username = fields.get("username")
    if not isinstance(pairs, (list, tuple)) or fields["kind"] not in (OPERATOR, TENANT, METRICS):
        raise BadValueError("a field has a wrong value")
    sites = tuple((parse_domain(str(domain)), parse_username(str(user))) for domain, user in pairs)
    return Token(
        str(fields["name"]),
        str(fields["kind"]),
        str(fields["digest"]),
        str(fields["created"]),
        None if username is None else parse_username(str(username)),
        sites,
    )


def _write(layout: Layout, tokens: dict[str, Token]) -> None:
    text = json.dumps([dataclasses.asdict(one) for one in tokens.values()], indent=1) + "\n"
    write_if_changed(layout.web_tokens, text, mode=0o600)


class TokenBook:
    """The tokens as they are now: the file is read again when it was changed. Raises TokenError and OSError."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._tokens: dict[str, Token] = {}

    def find(self, text: str) -> Token | None:
        """The token whose text this is."""
        if len(text) > _LONGEST:
            return None
        wanted = digest(text)
        return next((one for one in self._now().values() if secrets.compare_digest(one.digest, wanted)), None)

    def named(self, name: str, wanted: str) -> Token | None:
        """The token of this name, if it is still the one with this digest."""
        token = self._now().get(name)
        return token if token is not None and token.digest == wanted else None

    def _now(self) -> dict[str, Token]:
        with self._lock:
            seen: tuple[int, ...] = ()
            with contextlib.suppress(FileNotFoundError):
                facts = os.stat(self._layout.web_tokens)  # noqa: PTH116
                seen = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
            if seen != self._seen:
                self._tokens = read(self._layout)
                self._seen = seen
            return self._tokens
