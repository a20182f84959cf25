"""The wheel: built as anybody builds it, it has what an installation needs, the manual and the completions too."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conf import building, manual
from log_splitter import arguments as splitter
from user_wsgi_wrapper import __version__
from user_wsgi_wrapper.emperor_hook import arguments as operator

ROOT = Path(__file__).parents[1]
PARSERS = [operator.parser(), splitter.parser()]
SHARE = f"user_wsgi_wrapper-{__version__}.data/data/share"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built in a copy of the sources, so that the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).exists():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, folder / "source"]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_module_and_template_is_in_it(names: set[str]) -> None:
    """And no test, and nothing of the workshop."""
    for package in ("user_wsgi_wrapper", "log_splitter"):
        for path in (ROOT / package).rglob("*.py"):
            assert str(path.relative_to(ROOT)) in names
    for path in (ROOT / "conf").glob("*.template"):
        assert f"{SHARE}/user_wsgi_wrapper/conf/{path.name}" in names
    assert not [name for name in names if name.startswith(("tests/", "bench/", "conf/"))]


def test_the_manual_and_the_completions_are_in_it(wheel: Path, names: set[str]) -> None:
    """As the grammar of the same sources gives them."""
    for name, text in building.files(__version__).items():
        with zipfile.ZipFile(wheel) as archive:
            assert archive.read(f"{SHARE}/{name}").decode() == text, name
    assert {f"{SHARE}/man/man1/{parser.prog}.1" for parser in PARSERS} <= names


def test_it_installs_and_runs(wheel: Path, tmp_path: Path) -> None:
    """Both programs, with the packages that it says it needs."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--ignore-installed",
        "--prefix",
        tmp_path,
        wheel,
    ]
    subprocess.run(pip, check=True, timeout=300)
    (packages,) = tmp_path.glob("**/site-packages")
    for parser in PARSERS:
        program = next(tmp_path.glob(f"**/bin/{parser.prog}"))
        done = subprocess.run(
            [sys.executable, program, "--version"], capture_output=True, text=True, env={"PYTHONPATH": str(packages)}
        )
        assert done.stdout.strip() == __version__, done.stderr


# -- the manual itself


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every option of a parser and of its commands."""
    for leaf in (parser, *(one for _, one in manual.commands(parser))):
        for action in leaf._actions:
            yield from action.option_strings


def shown(text: str) -> str:
    """What groff makes of a page, which must have nothing to complain of, on lines that it never breaks."""
    groff = ["groff", "-man", "-K", "utf8", "-T", "utf8", "-ww", "-r", "LL=2000n", "-P", "-cbou"]
    done = subprocess.run(groff, input=text, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog)
def test_a_manual_page_has_all_that_help_says(parser: argparse.ArgumentParser) -> None:
    """Every command with its description, every option, examples as they stand; to groff it is a faultless page."""
    text = shown(manual.page(parser, "1.0", "brief"))
    words = " ".join(text.replace("\u2010", "-").split())
    for leaf in (parser, *(one for _, one in manual.commands(parser))):
        assert " ".join((leaf.description or "").split()) in words
        for line in (leaf.epilog or "").split("\n"):
            assert line.strip() in text, line
    for option in options(parser):
        assert option in words
    for name, _ in manual.commands(parser):
        assert f"\n{name.upper()}\n" in text


def test_what_man_would_take_for_its_own_is_shown() -> None:
    """Dots and quotes at a line's start, backslashes, hyphens that can be copied."""
    parser = argparse.ArgumentParser(
        "x", description="'quoted' \\fB-a", epilog=".dot\n'quote\n\\e--x", add_help=False
    )
    text = shown(manual.page(parser, "1", "."))
    for line in ("'quoted' \\fB-a", ".dot", "'quote", "\\e--x"):
        assert line in text.replace("\u2019", "'").replace("\u2018", "'"), text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("user-wsgi-wrapper si", "site"),
        ("user-wsgi-wrapper site im", "import"),
        ("user-wsgi-wrapper site import --dr", "--dry-run"),
        ("user-wsgi-wrapper logs --kind a", "access"),
        ("log-splitter --cat", "--catch-all"),
    ],
)
def test_bash_completes(tmp_path: Path, line: str, expected: str) -> None:
    """With the file that a build makes, in a real bash."""
    program = line.split()[0]
    file = tmp_path / program
    file.write_text(building.files("1.0")[f"bash-completion/completions/{program}"])
    script = (
        f"source {file}; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
        f'$(complete -p {program} | sed "s/.*-F \\([^ ]*\\).*/\\1/") {program}; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=30)
    assert expected in done.stdout.split(), done
