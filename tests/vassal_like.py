"""The options of a vassal by which a bare uWSGI takes up new versions of a site: see conf/vassal.ini.template."""

import os
import re
import signal

from tests.bare_uwsgi import PATIENCE, BareUwsgi, wait_for

GOOD = """\
import os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"{version} %d" % os.getpid()]
"""
BAD = "import os\n1 / 0\n"


class Vassal(BareUwsgi):
    """One site under a master that starts workers when it is asked to. `processes` of them serve."""

    def __init__(self, source=None, processes=1, threads=1, more=(), preflight="import", text=None, **settings):
        super().__init__(
            source,
            threads,
            (
                f"processes = {2 * processes + 2}",
                f"cheaper = {processes}",
                "cheaper-algo = manual",
                "log-date = %%Y-%%m-%%d %%H:%%M:%%S,000 [-]",
                "master-fifo = {www}/../commands",
                "hook-touch = {www}/wsgi.py writefifo:{www}/../commands +",
                "env = SITE_KEEP_FOLDER={www}/../keep",
                f"env = SITE_PREFLIGHT={preflight}",
                *more,
            ),
            **settings,
        )
        self.file = self.www / "wsgi.py"
        if text is not None:
            self.file.write_text(text)

    def save(self, text):
        """Replace the file, as an editor does, with a time of its own."""
        new = self.www / ".wsgi.new"
        new.write_text(text)
        os.replace(new, self.file)

    def touch(self):
        os.utime(self.file)

    def body(self, path="/"):
        return self.get(path).body.decode()

    def version(self):
        return self.body().split()[0]

    def events(self):
        """(code, text) of the site's life so far."""
        return re.findall(r"^[-0-9]+ [:0-9]+,\d{3} \[-\] site (\w+): (.*)$", self.server_log.read_text(), re.M)

    def codes(self):
        return [code for code, _ in self.events()]

    def wait_for_event(self, code, count=1):
        try:
            wait_for(lambda: self.codes().count(code) >= count, f"{count} times site {code}")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.server_log.read_text()[-5000:]}\n{self.log()[-3000:]}") from None

    def deploy(self):
        """What the file `deploy` says."""
        path = self.folder / "keep" / "deploy"
        return path.read_text() if path.exists() else ""

    def kept(self):
        """The manifest of the kept version; empty if there is none yet."""
        path = self.folder / "keep" / "kept"
        return path.read_text() if path.exists() else ""

    def stop(self):
        """End the server as the Emperor does one that was idle."""
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(PATIENCE)

    def start_anew(self):
        """The same site under a new server."""
        if self._process.poll() is None:
            self.stop()
        self.start()

    def workers(self):
        """The pids of the master's living children."""
        pid = self._process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return {int(word) for word in file.read().split()}
