"""The operator's templates in conf/: found, and filled with every value quoted for where it goes.

The templates are Jinja's. A `carry` function stands between every value and the page, so that a template
can't forget to quote one.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import jinja2

Carry = Callable[[object], str]

_INSTALLED = Path(sys.prefix) / "share/user_wsgi_wrapper/conf"
_CHECKOUT = Path(__file__).resolve().parents[2] / "conf"


@functools.cache
def _environment(carry: Carry) -> jinja2.Environment:
    folders = [folder for folder in (_CHECKOUT, _INSTALLED) if folder.is_dir()]
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        undefined=jinja2.StrictUndefined,
        finalize=carry,
        autoescape=False,  # noqa: S701 - what is written is a configuration, and `carry` is its quoting
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def fill(name: str, carry: Carry, **values: object) -> str:
    """The template conf/<name> with `values`, each passed through `carry`, which may raise to refuse one."""
    return _environment(carry).get_template(name).render(**values)


def conf_folder() -> Path:
    """The folder that holds the templates: the checkout's, else the installed one."""
    return _CHECKOUT if _CHECKOUT.is_dir() else _INSTALLED
