"""The step of a build that writes the manual pages and the shells' completions, from the command lines' own grammar.

setup.cfg names it: a wheel, and so a Debian package, has them in share/ as they are right for what it holds.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from setuptools.command.build_py import build_py

if TYPE_CHECKING:
    import argparse

ROOT = Path(__file__).parents[1]
# the shell, the folder beneath share/ that it looks in, and a completion's name there
SHELLS = {
    "bash": ("bash-completion/completions", "{}"),
    "zsh": ("zsh/site-functions", "_{}"),
}
_IN_THE_CHROOT = ("check_static", "virtualenv")  # paths that this machine's files say nothing about
_BRIEF = {
    "user-wsgi-wrapper": "host many people's WSGI applications on one machine",
    "log-splitter": "deal one stream of access lines out to a file a domain",
}


def files(version: str) -> dict[str, str]:
    """What a build adds: paths beneath share/, and what stands in them."""
    sys.path.insert(0, str(ROOT))  # these sources, and nothing that is installed
    try:
        from conf import manual
        from log_splitter import arguments as splitter
        from user_wsgi_wrapper.emperor_hook import arguments as operator
    finally:
        sys.path.remove(str(ROOT))
    found = {}
    for parser in (operator.parser(), splitter.parser()):
        os.environ["COLUMNS"] = "80"  # usage is broken as for a terminal of that width
        found[f"man/man1/{parser.prog}.1"] = manual.page(parser, version, _BRIEF[parser.prog])
        found.update(completions(parser))
    return found


def completions(parser: argparse.ArgumentParser) -> dict[str, str]:
    """A program's completions; arguments that name files complete to files."""
    import shtab

    for leaf in (parser, *_leaves(parser)):
        for action in leaf._actions:
            if action.metavar in ("FILE", "DIR", "WSGI_FILE") and action.dest not in _IN_THE_CHROOT:
                action.complete = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE  # type: ignore[attr-defined]
    return {
        f"{folder}/{name.format(parser.prog)}": shtab.complete(parser, shell)
        for shell, (folder, name) in SHELLS.items()
    }


def _leaves(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    from conf import manual

    return [leaf for _, leaf in manual.commands(parser)]


class BuildPy(build_py):
    """Setuptools' own step, and then the manual; not for an installation that links to the sources."""

    def get_source_files(self) -> list[str]:
        """What a source distribution must have: this step too."""
        return [*super().get_source_files(), "conf/building.py", "conf/manual.py", "pyproject.toml"]

    def run(self) -> None:
        """Write the files, and have them installed."""
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib).parent / "share"
        for name, text in files(self.distribution.get_version()).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            self.distribution.data_files.append((f"share/{Path(name).parent}", [str(path)]))
