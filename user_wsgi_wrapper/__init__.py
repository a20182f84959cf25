"""Python web hosting for many tenants on one box: nginx, the uWSGI Emperor, one chroot per user."""

__version__ = "0.1.0"
