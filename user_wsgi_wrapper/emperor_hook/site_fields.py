"""A site as plain values, for files that people edit and other programs read. Pure.

One field is one value: text, a number, or pairs. In a table's cell pairs stand as the command line has them,
`URL=DIR` with `:` between, `K=V` with a line end between; an empty cell is no value, or no pairs.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from typing import Any

from user_wsgi_wrapper import site as law
from user_wsgi_wrapper.site import BadValueError, Site, parse_domain, parse_env, parse_static, shorten

NAMES = tuple(field.name for field in dataclasses.fields(Site))
_HINTS: Mapping[str, Any] = typing.get_type_hints(Site)
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_SEPARATORS = {"static": ":", "env": "\n"}


def _kinds(name: str) -> tuple[Any, ...]:
    return typing.get_args(_HINTS[name]) or (_HINTS[name],)


def _is_pairs(name: str) -> bool:
    return typing.get_origin(_HINTS[name]) is tuple


def may_be_none(name: str) -> bool:
    """Whether a site can be without that field."""
    return not _is_pairs(name) and type(None) in _kinds(name)


def to_cell(site: Site, name: str) -> str:
    """A field as a table's cell."""
    value = getattr(site, name)
    if _is_pairs(name):
        return _SEPARATORS[name].join("=".join(pair) for pair in value)
    return "" if value is None else str(value)


def from_cell(name: str, text: str) -> Any:
    """The field that a cell holds, None for an empty one; raises BadValueError with the value and the rule."""
    if _is_pairs(name):
        parse = parse_static if name == "static" else parse_env
        return tuple(parse(one) for one in text.split(_SEPARATORS[name]) if one)
    if not text:
        return None
    return _number(name, text) if int in _kinds(name) else text


def _number(name: str, text: str) -> int:
    if not _WHOLE.fullmatch(text.strip()):
        raise BadValueError(f"{name} {shorten(text)}: a whole number is needed")
    return int(text)


def from_json(name: str, value: object) -> Any:
    """The field that a JSON document holds."""
    if _is_pairs(name):
        if not isinstance(value, list) or not all(_is_pair(one) for one in value):
            raise BadValueError(f"{name} {shorten(repr(value))}: a list of pairs of strings is needed")
        return tuple((first, second) for first, second in value)
    allowed = tuple(kind for kind in _kinds(name) if isinstance(kind, type))
    if not isinstance(value, allowed) or isinstance(value, bool):
        names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in allowed)
        raise BadValueError(f"{name} {shorten(repr(value))}: {names} is needed")
    return value


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(one, str) for one in value)


def build(values: Mapping[str, Any], defaults: Site) -> Site:
    """The site of these fields, the others as `defaults` has them; the names in their canonical form."""
    for name in ("domain", "username"):
        if not values.get(name):
            raise BadValueError(f"{name}: it is needed")
    fields = {**values, "domain": parse_domain(values["domain"])}
    for name in ("wsgi_file", "check_static", "virtualenv"):
        if fields.get(name) is not None:
            fields[name] = law.parse_inside_path(name.replace("_", "-"), fields[name])
    return law.check(dataclasses.replace(defaults, **fields))
