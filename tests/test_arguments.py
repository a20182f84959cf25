"""The grammar of the command line: every option that is promised, help that tells of it, errors of one line."""

import argparse

import pytest

from user_wsgi_wrapper import __version__
from user_wsgi_wrapper.emperor_hook import __main__ as entry
from user_wsgi_wrapper.emperor_hook import arguments

SETTINGS = {
    "--static": ("/s=/d", "static", ["/s=/d"]),
    "--check-static": ("/d", "check_static", "/d"),
    "--wsgi-file": ("/var/www/app.py", "wsgi_file", "/var/www/app.py"),
    "--virtualenv": ("/home/A/v", "virtualenv", "/home/A/v"),
    "--env": ("K=V", "env", ["K=V"]),
    "--processes": ("2", "processes", 2),
    "--threads": ("3", "threads", 3),
    "--idle": ("60", "idle", 60),
    "--memory": ("256", "memory", 256),
    "--tasks-max": ("64", "tasks_max", 64),
    "--memory-max": ("512", "memory_max", 512),
    "--cpu-quota": ("150", "cpu_quota", 150),
    "--open-files": ("2048", "open_files", 2048),
    "--log-rate": ("128", "log_rate", 128),
    "--log-format": ("json", "log_format", "json"),
    "--preflight": ("compile", "preflight", "compile"),
}
# The commands, each with its options; what can't be left out stands first.
COMMANDS = {
    ("up",): {"--port": ("8081", "port", 8081)},
    ("check",): {"--json": (None, "json", True)},
    ("check", "a.test"): {"--json": (None, "json", True)},
    ("explain", "a.test"): {"--json": (None, "json", True)},
    ("collect", "a.test"): {"-o": ("x.tar.gz", "output", "x.tar.gz"), "-n": ("5", "lines", 5)},
    ("cool", "a.test"): {},
    ("configure",): {},
    ("site", "add", "a.test", "--user", "Alice"): SETTINGS,
    ("site", "set", "a.test"): {**SETTINGS, "--unset-env": ("K", "unset_env", ["K"])},
    ("site", "remove", "a.test"): {"--purge": (None, "purge", True)},
    ("site", "import", "sites.csv"): {
        "--format": ("piku", "format", "piku"),
        "--user": ("Alice", "user", "Alice"),
        "--dry-run": (None, "dry_run", True),
    },
    ("site", "export"): {"--format": ("json", "format", "json")},
    ("site", "list"): {"--json": (None, "json", True)},
    ("site", "show", "a.test"): {"--json": (None, "json", True)},
    ("reload", "a.test"): {},
    ("status",): {"--json": (None, "json", True)},
    ("status", "a.test"): {"--json": (None, "json", True)},
    ("logs", "a.test"): {
        "--kind": ("access", "kind", ["access"]),
        "-n": ("5", "lines", 5),
        "-f": (None, "follow", True),
        "--request": ("3f9c2a71d0b4", "request", "3f9c2a71d0b4"),
        "--since": ("30m", "since", "30m"),
        "--grep": ("x.y", "grep", "x.y"),
    },
    ("serve", "wsgi.py"): {
        "--port": ("8081", "port", 8081),
        "--static": ("files", "static", "files"),
        "--log": ("e.log", "log", "e.log"),
        "--processes": ("2", "processes", 2),
    },
    ("trim",): {"--budget": ("5", "budget", 5)},
    ("trim", "a.test"): {"--budget": ("5", "budget", 5)},
    ("reap",): {"--dry-run": (None, "dry_run", True), "--json": (None, "json", True)},
}
SOME_DEFAULTS = (8000, 1, 500, 1024, "csv")
OPTIONS = [(command, option) for command, options in COMMANDS.items() for option in options]


def parse(*argv):
    return arguments.parser().parse_args(argv)


def words(command):
    """The command without its arguments."""
    return [word for word in command if word not in ("a.test", "--user", "Alice", "wsgi.py", "sites.csv")]


@pytest.mark.parametrize(
    ("command", "option"), OPTIONS, ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
def test_every_option_is_there(command, option):
    """It takes its value and hands it on under its name; without it nothing is said."""
    text, name, value = COMMANDS[command][option]
    assert getattr(parse(*command, option, *([] if text is None else [text])), name) == value
    assert getattr(parse(*command), name) in (None, False, [], "error", *SOME_DEFAULTS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_its_function(command):
    """The name that the grammar sets is one that the program knows, and the global options go before it."""
    parsed = parse("--root", "/r", "--config", "/c.toml", *command)
    assert parsed.command in {*entry._COMMANDS, "serve"}
    assert (str(parsed.root), str(parsed.config)) == ("/r", "/c.toml")
    plain = parse(*command)
    assert (str(plain.root), plain.config) == ("/", None)


def test_every_function_has_its_command():
    """Nothing is there that can't be called."""
    assert {parse(*command).command for command in COMMANDS} == {*entry._COMMANDS, "serve"}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_a_command_mentions_its_options(command, capsys):
    """Each with a word on what it does, and it ends with status 0."""
    with pytest.raises(SystemExit) as ended:
        parse(*words(command), "--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: user-wsgi-wrapper {' '.join(words(command))} ")
    for option in COMMANDS[command]:
        assert option in text


def actions(parser):
    """Every option and argument of a parser and of those beneath it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for leaf in action.choices.values():
                yield from actions(leaf)
        else:
            yield parser.prog, action


def test_no_option_is_without_help():
    """Nor an argument."""
    assert [(prog, action.dest) for prog, action in actions(arguments.parser()) if not action.help] == []


def test_the_help_of_everything_lists_the_commands(capsys):
    """With an example, and the meaning of the exit status."""
    with pytest.raises(SystemExit):
        parse("--help")
    text = capsys.readouterr().out
    for command in ("up", "check", "site", "reload", "status", "logs", "reap", "serve", "--root", "--config"):
        assert command in text
    assert "exit status: 0 done, 1 failed, 2" in text
    assert "examples:" in text


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as ended:
        parse("--version")
    assert (ended.value.code, capsys.readouterr().out) == (0, f"{__version__}\n")


BAD = [
    [], ["fly"], ["site"], ["site", "fly"], ["site", "add"], ["site", "add", "a.test"], ["site", "show"], ["reload"],
    ["up", "--port", "0"], ["up", "--port", "65536"], ["up", "--port", "²"], ["up", "--port", "٣"],
    ["up", "--port", "-1"], ["up", "--port", "9" * 5000], ["up", "--port", "80 80"], ["up", "--port", "a\nb"],
    ["logs", "a.test", "-n", "-1"], ["logs", "a.test", "-n", "x"], ["logs", "a.test", "-n", "9" * 5000],
    ["logs", "a.test", "--kind", "secret"], ["logs", "a.test", "--kind", "a\nb"], ["logs"],
    ["site", "set", "a.test", "--processes", "many"], ["site", "set", "a.test", "--log-format", "xml"],
    ["site", "set", "a.test", "--preflight", "run"],
    ["site", "set", "a.test", "--idle", "1.5"], ["cool"], ["cool", "a.test", "--all"], ["status", "a.test", "b.test"],
    ["serve"], ["serve", "a", "b"], ["serve", "a", "--port", "http"], ["serve", "a", "--processes", "0"],
    ["serve", "a", "--processes", "65"], ["serve", "a", "--processes", "-1"], ["serve", "a", "--processes", "²"],
    ["reap", "--now"], ["site", "list", "--port", "1"], ["--root"],
]  # fmt: skip


@pytest.mark.parametrize("argv", BAD, ids=lambda argv: " ".join(argv)[:40] or "nothing")
def test_wrong_usage_is_one_line_and_status_2(argv, capsys):
    """The line names the command, the argument and where to read on."""
    with pytest.raises(SystemExit) as ended:
        parse(*argv)
    assert ended.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1, output.err
    assert output.err.startswith("user-wsgi-wrapper")
    assert output.err.endswith("--help)\n")


def test_a_negative_number_is_for_the_law_to_refuse():
    """It is a value like any other to the grammar."""
    assert parse("site", "set", "a.test", "--idle", "-1").idle == -1
