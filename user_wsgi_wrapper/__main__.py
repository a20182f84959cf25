"""The console script, and `python -m user_wsgi_wrapper`: one grammar, and two houses that carry its commands out.

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
    from user_wsgi_wrapper.emperor_hook.__main__ import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
