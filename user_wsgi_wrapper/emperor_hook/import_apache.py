"""Sites from Apache's virtual hosts with mod_wsgi. Pure.

A virtual host becomes a site under its ServerName and one under each ServerAlias, all of one tenant. The folder of
its script becomes /var/www, and what lies beneath keeps its place in it; of all else it is said what has to be
copied.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.emperor_hook import apache_file, site_fields
from user_wsgi_wrapper.emperor_hook.apache_file import Directive, Section
from user_wsgi_wrapper.emperor_hook.carried import Carried, Entry
from user_wsgi_wrapper.site import BadValueError, Site, parse_env, parse_static

# What needs no counterpart: the front and the wrapper do it, or it says what is so here anyway.
_NEEDLESS = {
    "serveradmin", "errorlog", "customlog", "loglevel", "wsgiprocessgroup", "wsgiapplicationgroup", "require",
    "order", "allow", "deny", "wsgisocketprefix", "wsgirestrictembedded", "wsgilazyinitialization", "sslengine",
    "wsgichunkedrequest",
}  # fmt: skip


def read(file: str, text: str, defaults: Site, username: str | None) -> Carried:
    """The sites of the virtual hosts in a file; `username` is for those that name none."""
    try:
        directives = list(apache_file.read(text))
    except apache_file.ApacheFileError as error:
        return Carried((), (), (f"{file}:{error}",))
    hosts: dict[Section, list[Directive]] = {}
    daemons: list[Directive] = []
    notes: list[str] = []
    for one in directives:
        host = next((section for section in one.within if section.name == "virtualhost"), None)
        if one.name == "wsgidaemonprocess":
            daemons.append(one)
        if host is not None:
            hosts.setdefault(host, []).append(one)
        elif one.name != "wsgidaemonprocess" and one.name not in _NEEDLESS:
            notes.append(f"{file}:{one.line}: not carried over, it is outside of a virtual host: {one.text}")
    found = Carried((), tuple(notes))
    for host, inner in hosts.items():
        found += _Host(file, inner, daemons, defaults, username).carry(host)
    if not hosts:
        return found + Carried((), (), (f"{file}:1: there is no <VirtualHost> in it",))
    return found


class _Host:
    """One virtual host on its way to be sites."""

    def __init__(
        self, file: str, directives: list[Directive], daemons: list[Directive], defaults: Site, username: str | None
    ) -> None:
        self.file = file
        self.directives = directives
        self.daemons = daemons
        self.defaults = defaults
        self.username = username
        self.notes: list[str] = []
        self.folder = ""

    def carry(self, host: Section) -> Carried:
        scripts = [one for one in self.directives if one.name == "wsgiscriptalias"]
        if not scripts:
            return Carried(
                (), (f"{self.file}:{host.line}: not carried over: a virtual host without WSGIScriptAlias",)
            )
        try:
            values = self._values(host, scripts)
        except BadValueError as error:
            return Carried((), tuple(self.notes), (str(error),))
        entries, errors = [], []
        for line, domain in self._domains():
            try:
                entries.append(
                    Entry(f"{self.file}:{line}", site_fields.build({**values, "domain": domain}, self.defaults))
                )
            except BadValueError as error:
                errors.append(f"{self.file}:{line}: {error}")
        if not entries and not errors:
            errors.append(f"{self.file}:{host.line}: there is no ServerName in it")
        return Carried(tuple(entries), tuple(dict.fromkeys(self.notes)), tuple(errors))

    def _domains(self) -> Iterable[tuple[int, str]]:
        found: dict[str, int] = {}
        for one in self.directives:
            for word in one.words if one.name in ("servername", "serveralias") else ():
                if "*" in word or "?" in word:
                    self._note(one, "a site has one name, add those that are asked for")
                else:
                    found.setdefault(word.partition("://")[2].partition(":")[0] or word.partition(":")[0], one.line)
        return [(line, domain) for domain, line in found.items()]

    def _values(self, host: Section, scripts: list[Directive]) -> dict[str, object]:
        at_root = next((one for one in scripts if one.words[:1] == ("/",) and len(one.words) > 1), None)
        if at_root is None:
            raise BadValueError(f"{self.file}:{scripts[0].line}: WSGIScriptAlias / FILE is needed: {scripts[0].text}")
        script = at_root.words[1]
        self.folder = posixpath.dirname(script)
        values: dict[str, object] = {"wsgi_file": self._place(at_root, script), "username": self.username or ""}
        self._say(at_root, f"copy {self.folder} to {inside.WWW} of the tenant")
        values.update(self._daemon(host, at_root))
        if not values["username"]:
            raise BadValueError(f"{self.file}:{host.line}: no WSGIDaemonProcess names a user; say --user NAME")
        static, env = [], dict(self._environment(values))
        for one in self.directives:
            if one.name in ("alias",) and len(one.words) == 2:
                static.append(self._static(one))
            elif not self._is_known(one):
                self._note(one, "")
        return {**values, "static": tuple(static), "env": tuple(env.items())}

    def _is_known(self, one: Directive) -> bool:
        known = ("servername", "serveralias", "wsgidaemonprocess", "setenv")
        within = [section for section in one.within if section.name not in ("virtualhost", "ifmodule")]
        script = one.name == "wsgiscriptalias" and one.words[:1] == ("/",)
        return one.name in _NEEDLESS or script or (one.name in known and not within)

    def _place(self, one: Directive, path: str) -> str:
        """Where a file or folder of the host's is in the chroot, once it was copied."""
        folder = posixpath.normpath(self.folder)
        path = posixpath.normpath(path)
        if path == folder or path.startswith(f"{folder}/"):
            return inside.WWW + path[len(folder) :]
        place = f"{inside.WWW}/{posixpath.basename(path)}"
        self._say(one, f"copy {path} to {place} of the tenant")
        return place

    def _static(self, one: Directive) -> tuple[str, str]:
        url, folder = one.words
        try:
            return parse_static(f"{url.rstrip('/') or '/'}={self._place(one, folder)}")
        except BadValueError as error:
            raise BadValueError(f"{self.file}:{one.line}: {error}") from None

    def _environment(self, values: dict[str, object]) -> Iterable[tuple[str, str]]:
        path = values.pop("python_path", "")
        if path:
            yield "PYTHONPATH", str(path)
        for one in self.directives:
            if one.name == "setenv" and self._is_known(one):
                name, value = (*one.words, "", "")[:2]
                try:
                    yield parse_env(f"{name}={value}")
                except BadValueError as error:
                    raise BadValueError(f"{self.file}:{one.line}: {error}") from None
                self._say(one, f"{name} is in os.environ, no longer in each request's environ")

    def _daemon(self, host: Section, script: Directive) -> dict[str, object]:
        """What the daemon process says that runs the script, by the name that is given for it."""
        options = [word.partition("=")[2] for word in script.words[2:] if word.startswith("process-group=")]
        groups = [one.words[0] for one in self.directives if one.name == "wsgiprocessgroup" and one.words]
        wanted = (options or groups or [""])[0]
        daemon = next((one for one in self.daemons if one.words[:1] == (wanted,)), None)
        if daemon is None:
            return {}
        values: dict[str, object] = {}
        for word in daemon.words[1:]:
            name, _, value = word.partition("=")
            try:
                values.update(self._daemon_option(daemon, name, value))
            except BadValueError as error:
                raise BadValueError(f"{self.file}:{daemon.line}: {error}") from None
        return values

    def _daemon_option(self, one: Directive, name: str, value: str) -> dict[str, object]:
        if name == "user":
            return {} if self.username else {"username": value.lstrip("#")}
        if name in ("processes", "threads"):
            return {name: site_fields.from_cell(name, value)}
        if name == "python-path":
            return {"python_path": ":".join(self._place(one, part) for part in value.split(":") if part)}
        if name == "python-home":
            self._say(one, f"make a virtual environment with what {value} has, it can't be moved: python3 -m venv")
            beneath = posixpath.normpath(value).startswith(f"{posixpath.normpath(self.folder)}/")
            return {"virtualenv": self._place(one, value) if beneath else f"{inside.WWW}/{posixpath.basename(value)}"}
        if name not in ("group", "display-name", "home", "lang", "locale"):
            self.notes.append(f"{self.file}:{one.line}: not carried over: {name}={value}")
        return {}

    def _note(self, one: Directive, because: str) -> None:
        text = f"{self.file}:{one.line}: not carried over: {one.text}"
        self.notes.append(f"{text} ({because})" if because else text)

    def _say(self, one: Directive, what: str) -> None:
        self.notes.append(f"{self.file}:{one.line}: to do: {what}")
