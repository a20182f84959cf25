"""The console script, and `python -m user_wsgi_wrapper`: one grammar, and three houses that carry its commands out.

`serve` needs nothing of what the others are made of, a web server and its tenants; it never loads them.
"""

from __future__ import annotations

import sys

from user_wsgi_wrapper.emperor_hook.arguments import parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; its exit status."""
    arguments = parser().parse_args(argv)
    if arguments.command == "serve":
        from user_wsgi_wrapper.embedded.command import serve

        return serve(arguments)
    if arguments.command in ("web", "token_add", "token_list", "token_revoke"):
        from user_wsgi_wrapper.web.command import run as run_web

        return run_web(arguments)
    from user_wsgi_wrapper.emperor_hook.__main__ import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
