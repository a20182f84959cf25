"""`python -m user_wsgi_wrapper` is the console script."""

import sys

from user_wsgi_wrapper.emperor_hook.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
