"""Inside the chroot: the error log, then the tenant's application over FastCGI on descriptor 0.

flup was what everybody served WSGI over FastCGI with. mod_fcgid never sends a process more than one request at a
time, so it is flup's server without threads.
"""

import os
import sys

log = os.open("/var/log/error.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
os.dup2(log, 2)
os.chdir("/var/www")
sys.path.insert(0, "/var/www")

from flup.server.fcgi_single import WSGIServer  # noqa: E402
from wsgi import application  # noqa: E402

WSGIServer(application).run()
