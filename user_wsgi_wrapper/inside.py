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
# What the master of a vassal runs.
MASTER = f"{LIBRARY}/user_wsgi_wrapper/runtime/master.py"
# What uWSGI sends static files by.
MIME_TYPES = f"{LIBRARY}/mime.types"

LOG_KINDS = ("access", "error", "server")


def home(username: str) -> str:
    """The tenant's home folder; the user name keeps its case."""
    return f"/home/{username}"


def keep_folder(username: str, domain: str) -> str:
    """Where the version of the site that works is kept, and what became of its versions."""
    return f"{home(username)}/.cache/user_wsgi_wrapper/{domain}"


def fifo(domain: str) -> str:
    """Where the site's uWSGI master takes commands."""
    return f"/dev/shm/{domain}.commands"  # noqa: S108  the tenant's own


def log_file(domain: str, kind: str) -> str:
    """The path of one of a domain's three logs; `kind` is one of LOG_KINDS."""
    return f"{LOG_DIR}/{domain}/{domain}.{kind}.log"
