"""The embedded default: the runtime over one wsgi.py, on werkzeug's server, for anybody and anywhere."""
