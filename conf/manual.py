"""A manual page (man(7)) of a program, from its argparse grammar: what --help of it and of its commands says.

argparse-manpage leaves commands' epilogs out and fills examples into paragraphs; hence this.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

_DATE = "2026"  # the same sources make the same page, whatever the day


def page(parser: argparse.ArgumentParser, version: str, brief: str) -> str:
    """The page's text. `brief` says what the program is, for the page's head and for apropos(1)."""
    lines = [
        f'.TH {_quote(parser.prog.upper())} 1 "{_DATE}" {_quote(f"{parser.prog} {version}")} "User commands"',
        ".SH NAME",
        f"{_escape(parser.prog)} \\- {_escape(brief)}",
        ".SH SYNOPSIS",
        *_usage(parser),
        ".SH DESCRIPTION",
        *_paragraph(parser.description or ""),
    ]
    lines += _groups(parser, ".SH")
    lines += _epilog(parser, ".SH NOTES")
    for name, leaf in commands(parser):
        lines += [f".SH {_escape(name.upper())}", *_usage(leaf), ".PP", *_paragraph(leaf.description or "")]
        lines += _groups(leaf, ".SS")
        lines += _epilog(leaf, ".PP")
    return "\n".join(lines) + "\n"


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The commands and theirs, `site add`, that have none themselves."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, leaf in action.choices.items():
                inner = list(commands(leaf, f"{name}{word} "))
                yield from inner or [(f"{name}{word}", leaf)]


def _usage(parser: argparse.ArgumentParser) -> list[str]:
    text = " ".join(parser.format_usage().split()[1:])
    rest = text.removeprefix(parser.prog).strip()
    return [f"\\fB{_escape(parser.prog)}\\fR {_escape(rest)}".rstrip()]


def _groups(parser: argparse.ArgumentParser, heading: str) -> Iterator[str]:
    for group in parser._action_groups:
        actions = [one for one in group._group_actions if _is_shown(one, heading)]
        if not actions:
            continue
        yield f"{heading} {_escape((group.title or 'options').upper() if heading == '.SH' else group.title or '')}"
        for action in actions:
            if isinstance(action, argparse._SubParsersAction):
                for choice in action._choices_actions:
                    yield from _item(f"\\fB{_escape(choice.dest)}\\fR", choice.help or "")
            else:
                yield from _item(_invocation(action), _help(parser, action))


def _is_shown(action: argparse.Action, heading: str) -> bool:
    """Whether it is worth a line: --help is, once."""
    is_help = isinstance(action, argparse._HelpAction) and heading != ".SH"
    return action.help is not argparse.SUPPRESS and not is_help


def _item(term: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield term
    yield from _paragraph(text)


def _invocation(action: argparse.Action) -> str:
    value = action.metavar if isinstance(action.metavar, str) else None
    if value is None and action.choices is not None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return f"\\fI{_escape(value or action.dest)}\\fR"
    shown = "" if action.nargs == 0 or value is None else f" \\fI{_escape(value)}\\fR"
    return ", ".join(f"\\fB{_escape(option)}\\fR{shown}" for option in action.option_strings)


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return parser._get_formatter()._expand_help(action)


def _epilog(parser: argparse.ArgumentParser, heading: str) -> Iterator[str]:
    """As it stands: its columns and its examples are laid out."""
    if parser.epilog:
        yield heading
        yield ".nf"
        yield from (_line(one) for one in parser.epilog.split("\n"))
        yield ".fi"


def _paragraph(text: str) -> list[str]:
    return [_line(" ".join(text.split()))]


def _line(text: str) -> str:
    escaped = _escape(text)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _escape(text: str) -> str:
    return re.sub(r"-", r"\\-", text.replace("\\", "\\e"))


def _quote(text: str) -> str:
    return f'"{_escape(text)}"'
