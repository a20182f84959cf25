"""The operator's side writes a line into a log that is the tenant's."""

import os
import re

import pytest

from user_wsgi_wrapper.emperor_hook import server_log
from user_wsgi_wrapper.layout import Layout


@pytest.mark.parametrize("kind", ["symlink", "FIFO"])
def test_the_operator_s_line_is_not_written_through_what_stands_in_the_log_s_place(tmp_path, kind):
    """Nor does anybody wait."""
    layout = Layout(tmp_path)
    path = layout.log_file("a.test", "server")
    path.parent.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.touch()
    if kind == "symlink":
        path.symlink_to(victim)
    else:
        os.mkfifo(path)
    server_log.say(layout, "a.test", "throttled", "text")
    assert victim.read_text() == ""
    path.unlink()
    path.touch()
    server_log.say(layout, "a.test", "throttled", "text")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[-\] site throttled: text\n", path.read_text())
