"""Version 2 of the control groups, which takes its time: no code of the tenant's runs before it holds the master."""

import uuid
from pathlib import Path

import pytest

from tests.bare_uwsgi import ROOT, BareUwsgi, wait_for
from user_wsgi_wrapper.emperor_hook import cgroups, vassal
from user_wsgi_wrapper.emperor_hook.cgroups import Hierarchy
from user_wsgi_wrapper.emperor_hook.limits import Limits
from user_wsgi_wrapper.emperor_hook.unix_ids import Identity
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import Site

MASTER = ROOT / "user_wsgi_wrapper/runtime/master.py"
APP = """\
import pathlib
pathlib.Path("ran").touch()
HERE = open("/proc/self/cgroup", "rb").read()
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [HERE]
"""


@pytest.fixture
def group(tmp_path, monkeypatch):
    """A site's group in version 2's hierarchy, which holds no controller of ours where version 1 has them."""
    text = Path("/proc/self/mountinfo").read_text()
    folder = next(Path(line.split(" ")[4]) for line in text.splitlines() if " - cgroup2 " in line)
    monkeypatch.setattr(cgroups, "mounted", lambda: (Hierarchy(folder, 2, frozenset({"some"})),))
    monkeypatch.setattr(cgroups, "contents", lambda *_: [])
    monkeypatch.setattr(cgroups, "_enable", lambda *_: None)
    layout = Layout(tmp_path / uuid.uuid4().hex)
    yield cgroups.make(layout, "a.test", Limits())["some"]
    wait_for(lambda: cgroups.remove_all(layout) or not cgroups.group_of(layout, "a.test"), "the group is gone")


def under(entrance):
    """A uWSGI that enters its group as a vassal does."""
    text = vassal.render(Site("a.test", "A"), Identity("A", 1, 1), Layout(Path("/x")), entrances={"some": entrance})
    lines = [line for line in text.splitlines() if line.startswith(("hook-pre-jail", "env = SITE_CONTROL_GROUP"))]
    assert len(lines) == 2
    one = BareUwsgi(more=(*lines, f"shared-pyimport = {MASTER}"))
    (one.www / "wsgi.py").write_text(APP)
    return one


def test_a_site_is_in_its_group_before_its_code_runs(group):
    """Again and again, as the kernel takes now more, now less."""
    for _ in range(5):
        with under(cgroups.entrance(group)) as site:
            assert f"0::/{'/'.join(group.parts[-2:])}\n" in site.get("/").body.decode()


def test_a_site_that_does_not_get_into_its_group_does_not_start(group):
    """Its log says why."""
    gone = group.with_name("gone") / "cgroup.procs"
    with under(gone) as site:
        wait_for(lambda: site._process.poll() is not None, "it has ended")
        assert f"without its control group /{'/'.join(gone.parts[-3:-1])}" in site.server_log.read_text()
        assert not (site.www / "ran").exists()
