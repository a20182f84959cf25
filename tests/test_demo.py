"""The README's first command, as a newcomer runs it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.live import LiveStack, wait_for

DEMO = Path(__file__).resolve().parents[1] / "conf/demo"
INSTALLING = 600.0  # seconds: it makes two virtual environments from the package index


class Demo(LiveStack):
    """`conf/demo` in place of `up`."""

    def start(self) -> None:
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [DEMO, "--root", self.root, "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(self._is_up, "the demo says that it serves", INSTALLING)


def test_the_demo_serves_two_tenants_and_leaves_nothing() -> None:
    """Its pages, its logs and its stop are what the README says."""
    demo = Demo(Path(tempfile.mkdtemp(prefix="uww-demo-")))
    demo.root.chmod(0o755)
    demo.start()
    try:
        said = demo.output.read_text()
        assert f"http://one.localhost:{demo.port}/" in said
        assert f"http://two.localhost:{demo.port}/" in said
        check_one(demo)
        check_two(demo)
        assert demo.stop(signal.SIGINT) == 0
        assert demo.leftovers() == []
        # the second time nothing is installed any more, and what the tenants have is as it was
        demo.start()
        assert "installing" not in demo.output.read_text()
        assert demo.request("one.localhost").status == 200
    finally:
        demo.close()


def check_one(demo: LiveStack) -> None:
    """The plain tenant: a page, a static file, a page that prints and a page that raises."""
    assert "This is One" in demo.request("one.localhost").text
    assert "font" in demo.request("one.localhost", "/static/one.css").text
    assert demo.request("one.localhost", "/print").status == 200
    demo.wait_for_log("one.localhost", "asked for /print")
    assert demo.request("one.localhost", "/raise").status == 500
    demo.wait_for_log("one.localhost", "RuntimeError: somebody asked for /raise")


def check_two(demo: LiveStack) -> None:
    """The Flask tenant, whose Werkzeug isn't the operator's."""
    first = demo.request("two.localhost")
    assert "Flask 2.3.3 on Werkzeug 2.3.8: your visit number 1" in first.text
    cookie = first.headers["set-cookie"].partition(";")[0]
    assert "number 2" in demo.request("two.localhost", headers={"Cookie": cookie}).text
    assert demo.request("two.localhost", "/raise").status == 500
    demo.wait_for_log("two.localhost", "RuntimeError: Flask logs this one itself")


def test_a_root_that_only_root_may_enter_is_served_all_the_same() -> None:
    """nginx's workers get a way in; nothing on the way is opened up, and it is gone afterwards."""
    closed = Path(tempfile.mkdtemp(prefix="uww-closed-"))
    assert closed.stat().st_mode & 0o777 == 0o700
    (closed / "root").mkdir()
    live = LiveStack(closed / "root")
    live.start()
    try:
        live.site("one.test", "One", "def application(e, s):\n    s('200 OK', [])\n    return [b'one']\n")
        assert live.request("one.test").text == "one"
        assert "GET / HTTP" in live.wait_for_log("one.test", "GET", "access")
        assert closed.stat().st_mode & 0o777 == 0o700
    finally:
        live.close()
    assert not list(Path("/run").glob("user-wsgi-wrapper-*"))
    shutil.rmtree(closed)


@pytest.mark.parametrize("arguments", [["--port", "abc"], ["--nonsense"]])
def test_bad_arguments_of_the_demo_are_refused(arguments: list[str]) -> None:
    """One line, exit status 2."""
    done = subprocess.run([DEMO, *arguments], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
