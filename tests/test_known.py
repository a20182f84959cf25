"""The keys that have logs: read from a file of domains or the registry itself, again when that changes."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from log_splitter.errors import BadValueError
from log_splitter.known import Known, read_known
from tests.live import wait_for
from tests.registries import LAYOUT, sqlite_config
from user_wsgi_wrapper.emperor_hook.registry import Registry
from user_wsgi_wrapper.site import Site


def test_a_file_of_domains(tmp_path):
    path = tmp_path / "known"
    path.write_bytes(b"a.com\n  B.com.  # mine\n\n# c.com\nd.com")
    assert read_known(path) == {b"a.com", b"b.com", b"d.com"}


@pytest.mark.parametrize("text", [b"a.com\n..\n", b"a b\n", b"\xff\n", b"1.2.3.4", b"/etc/passwd"])
def test_what_is_no_domain_is_named_with_its_line(tmp_path, text):
    path = tmp_path / "known"
    path.write_bytes(text)
    with pytest.raises(BadValueError, match=r"known, line \d: .* is no domain"):
        read_known(path)


def test_the_registry_itself_and_what_is_added_to_it(tmp_path):
    path = tmp_path / "sites.db"
    registry = Registry(sqlite_config(path), LAYOUT)
    registry.add(Site("a.com", "Alice"))
    known = Known(path)
    assert known.keys == {b"a.com"}
    assert not known.refresh()
    registry.add(Site("b.com", "Bob"))
    wait_for(known.refresh, "the change is seen")
    assert known.keys == {b"a.com", b"b.com"}
    registry.remove("a.com")
    wait_for(known.refresh, "the change is seen")
    assert known.keys == {b"b.com"}
    registry.close()


def test_another_database_is_refused(tmp_path):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table x (y)")
    with pytest.raises(BadValueError, match="no such table"):
        read_known(path)


def test_the_last_good_state_stays(tmp_path):
    path = tmp_path / "known"
    path.write_text("a.com\n")
    known = Known(path)
    path.write_text("broken line\n")
    with pytest.raises(BadValueError):
        known.refresh()
    assert known.keys == {b"a.com"}
    assert not known.refresh()  # told once
    path.unlink()
    with pytest.raises(OSError, match="No such file"):
        known.refresh()
    assert known.keys == {b"a.com"}
    path.write_text("b.com\n")
    assert known.refresh()


def test_a_registry_in_any_database_is_a_file_by_the_readmes_command(tmp_path, monkeypatch):
    """And one that can't be asked leaves the file as it was."""
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text()
    command = next(text.strip() for text in readme.splitlines() if text.startswith("    sites=$("))
    command = command.replace("user-wsgi-wrapper", '"$PYTHON" -m user_wsgi_wrapper --root "$ROOT"')
    monkeypatch.setenv("PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    monkeypatch.setenv("ROOT", str(tmp_path / "root"))
    database = tmp_path / "root/var/lib/user_wsgi_wrapper/sites.db"
    database.parent.mkdir(parents=True)
    registry = Registry(sqlite_config(database), LAYOUT)
    for name in ("a.com", "b.com"):
        registry.add(Site(name, "Alice"))
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    assert read_known(tmp_path / "known") == {b"a.com", b"b.com"}
    database.write_bytes(b"no database" * 100)
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True)
    assert done.returncode != 0
    assert read_known(tmp_path / "known") == {b"a.com", b"b.com"}
