"""What the vassal says of the site, in the environment variables whose names begin with SITE_."""

from __future__ import annotations

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.runtime.black_box import FOLDER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_DOMAIN = "localhost"
TEMPORARY = "/tmp"  # noqa: S108  the tenant's own in a chroot


class Settings:
    """One value for each variable. `static` is (URL, folder) pairs, `static_index` the names of index files,
    `load_limit` how long wsgi.py may take to load, in seconds, `box_folder` where the worker's black box lies,
    `temporary` where what is written to descriptor 2 waits, `keep_folder` where the version that works is kept,
    `preflight` what makes a worker refuse a new one (see deploy), `log_rate` how much the error log takes of all
    workers together, in KiB a second, 0 for all.
    """

    __slots__ = (
        "box_folder", "check_static", "debug", "domain", "error_log", "error_page", "keep_folder", "load_limit",
        "log_format", "log_rate", "preflight", "static", "static_dotfiles", "static_index", "temporary", "wsgi_file",
    )  # fmt: skip

    def __init__(
        self,
        domain: str = DEFAULT_DOMAIN,
        wsgi_file: str = inside.WSGI_FILE,
        error_log: str | None = None,
        log_format: str = "text",
        static: tuple[tuple[str, str], ...] = (),
        check_static: str | None = None,
        error_page: str = inside.ERROR_PAGE,
        debug: bool = False,
        load_limit: float | None = None,
        box_folder: str = FOLDER,
        static_index: tuple[str, ...] = (),
        static_dotfiles: bool = False,
        temporary: str = TEMPORARY,
        keep_folder: str | None = None,
        preflight: str = "import",
        log_rate: float = 0.0,
    ) -> None:
        self.domain = domain
        self.wsgi_file = wsgi_file
        self.error_log = inside.log_file(domain, "error") if error_log is None else error_log
        self.log_format = log_format
        self.static = static
        self.check_static = check_static
        self.error_page = error_page
        self.debug = debug
        self.load_limit = load_limit
        self.box_folder = box_folder
        self.static_index = static_index
        self.static_dotfiles = static_dotfiles
        self.temporary = temporary
        self.keep_folder = keep_folder
        self.preflight = preflight
        self.log_rate = log_rate

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Settings from environment variables; what is unset or empty has the default of `inside`."""
        return cls(
            domain=environ.get("SITE_DOMAIN") or DEFAULT_DOMAIN,
            wsgi_file=environ.get("SITE_WSGI_FILE") or inside.WSGI_FILE,
            error_log=environ.get("SITE_ERROR_LOG") or None,
            log_format="json" if environ.get("SITE_LOG_FORMAT") == "json" else "text",
            static=parse_static(environ.get("SITE_STATIC", f"{inside.STATIC_URL}={inside.STATIC_DIR}")),
            check_static=environ.get("SITE_CHECK_STATIC") or None,
            error_page=environ.get("SITE_ERROR_PAGE") or inside.ERROR_PAGE,
            debug=environ.get("SITE_DEBUG") == "1",
            load_limit=_parse_number(environ.get("SITE_LOAD_LIMIT")),
            box_folder=environ.get("SITE_BOX_FOLDER") or FOLDER,
            static_index=tuple(name for name in environ.get("SITE_STATIC_INDEX", "").split(":") if name),
            static_dotfiles=environ.get("SITE_STATIC_DOTFILES") == "1",
            temporary=environ.get("TMPDIR") or TEMPORARY,
            keep_folder=environ.get("SITE_KEEP_FOLDER") or None,
            preflight=environ.get("SITE_PREFLIGHT") or "import",
            log_rate=_parse_number(environ.get("SITE_LOG_RATE")) or 0.0,
        )


def parse_static(text: str) -> tuple[tuple[str, str], ...]:
    """The pairs of `URL=DIR:URL=DIR`; what is no pair is left out, the vassal's values were checked before."""
    pairs = (item.partition("=") for item in text.split(":"))
    return tuple((url, folder) for url, separator, folder in pairs if separator and url and folder)


def _parse_number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
