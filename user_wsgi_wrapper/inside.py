"""Paths and names as a tenant sees them, inside the chroot.

Both sides of the wall read this module: the operator side to render a vassal and to build a chroot, the
runtime to default what the vassal left unset. It imports nothing.
"""

WWW = "/var/www"
WSGI_FILE = "/var/www/wsgi.py"
STATIC_URL = "/static"
STATIC_DIR = "/var/www/static"
ERROR_PAGE = "/var/www/500.html"
LOG_DIR = "/var/log"
ENTRY = "/bin/user_wsgi_wrapper.py"
# The folder that holds our package. The entry puts it on sys.path for its own imports alone.
LIBRARY = "/opt/user_wsgi_wrapper"

LOG_KINDS = ("access", "error", "server")


def home(username: str) -> str:
    """The tenant's home folder; the user name keeps its case."""
    return f"/home/{username}"


def log_file(domain: str, kind: str) -> str:
    """The path of one of a domain's three logs; `kind` is one of LOG_KINDS."""
    return f"{LOG_DIR}/{domain}/{domain}.{kind}.log"
