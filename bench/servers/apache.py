"""Apache: what all three ways with it share, mod_wsgi's daemon mode, and Passenger."""

from __future__ import annotations

from collections.abc import Sequence

from bench.servers.server import Enclosed
from bench.servers.site import Site

_MODULES = "/usr/lib/apache2/modules"
# MPM event with Debian's own numbers (mods-available/mpm_event.conf), KeepAlive as Debian's apache2.conf has it, but
# for the requests a connection may bring, which are nginx's 1,000 here, so that they are alike for all.
_COMMON = """\
ServerName localhost
ServerRoot {folder}
DefaultRuntimeDir {folder}/run
PidFile run/httpd.pid
ErrorLog log/apache.error.log
LogLevel warn
Listen 127.0.0.1:{port}
User www-data
Group www-data
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
StartServers 2
MinSpareThreads 25
MaxSpareThreads 75
ThreadLimit 64
ThreadsPerChild 25
MaxRequestWorkers 150
MaxConnectionsPerChild 0
KeepAlive On
MaxKeepAliveRequests 1000
KeepAliveTimeout 5
Timeout 300
HostnameLookups Off
LogFormat "%h %l %u %t \\"%r\\" %>s %O \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\"" combined
{own}
"""


# The first virtual host is whose name nobody else has: a stray request must not wake a site.
_NOBODY = """\
<VirtualHost 127.0.0.1:{port}>
ServerName nobody.invalid
<Location />
Require all denied
</Location>
</VirtualHost>
"""


class Apache(Enclosed):
    """An Apache over a configuration of its own."""

    def configuration(self, sites: Sequence[Site]) -> str:
        """What it has besides the common part."""
        raise NotImplementedError

    def before(self, sites: Sequence[Site]) -> str:
        """Commands of sh before Apache starts."""
        return ""

    def script(self, sites: Sequence[Site]) -> str:
        (self.folder / "log" / "sites").mkdir(exist_ok=True)
        text = _COMMON.format(folder=self.folder, port=self.port, modules=_MODULES, own=self.configuration(sites))
        (self.folder / "httpd.conf").write_text(text)
        # a log of each virtual host is a descriptor of each process
        start = f"ulimit -n 16384\nexec apache2 -f {self.folder}/httpd.conf -DFOREGROUND\n"
        return self.before(sites) + start


class ModWsgi(Apache):
    """A virtual host and a group of daemon processes a site."""

    name = "Apache, mod_wsgi daemon"
    always_on = "a daemon process a site from the start, its script pre-loaded"
    # restricted to daemons, so that Apache's own children hold no interpreter (its guide to performance)
    head = f"LoadModule wsgi_module {_MODULES}/mod_wsgi.so\nWSGIRestrictEmbedded On\nWSGISocketPrefix run/wsgi\n"
    # Daemon mode, the main interpreter, and process-group with application-group on the alias, which loads the script
    # before the first request: all as its documentation advises. No `processes=`, which means one.
    host = """\
WSGIDaemonProcess {site.domain} user={site.account} group={site.account} threads=1 display-name=%{{GROUP}}
<VirtualHost 127.0.0.1:{port}>
ServerName {site.domain}
CustomLog log/sites/{site.domain}.access.log combined
WSGIScriptAlias / {site.folder}/wsgi.py process-group={site.domain} application-group=%{{GLOBAL}}
<Directory {site.folder}>
Require all granted
</Directory>
</VirtualHost>
"""

    def configuration(self, sites: Sequence[Site]) -> str:
        return (
            self.head
            + _NOBODY.format(port=self.port)
            + "".join(self.host.format(site=site, port=self.port) for site in sites)
        )


class Passenger(Apache):
    """A virtual host a site; Passenger starts an application when it is first asked for."""

    name = "Apache, Passenger"
    colds = ("cold",)
    # One process an application, as the others have, and room for all of them; processes that nobody asks stay for
    # the 300 s of its default. It runs each application as the owner of its file. No calls home while it is measured.
    head = """\
LoadModule passenger_module {modules}/mod_passenger.so
PassengerRoot /usr/lib/ruby/vendor_ruby/phusion_passenger/locations.ini
PassengerInstanceRegistryDir {folder}/run
PassengerLogFile {folder}/log/passenger.log
PassengerPython /usr/bin/python3
PassengerMaxPoolSize {pool}
PassengerMaxInstancesPerApp 1
PassengerMinInstances 1
PassengerDisableSecurityUpdateCheck On
PassengerDisableAnonymousTelemetry On
"""
    host = """\
<VirtualHost 127.0.0.1:{port}>
ServerName {site.domain}
CustomLog log/sites/{site.domain}.access.log combined
DocumentRoot {site.folder}/public
PassengerAppRoot {site.folder}
PassengerAppType wsgi
PassengerStartupFile wsgi.py
<Directory {site.folder}/public>
Require all granted
</Directory>
</VirtualHost>
"""

    def configuration(self, sites: Sequence[Site]) -> str:
        head = self.head.format(modules=_MODULES, folder=self.folder, pool=max(6, len(sites)))
        return (
            head
            + _NOBODY.format(port=self.port)
            + "".join(self.host.format(site=site, port=self.port) for site in sites)
        )
