"""The entry: what uWSGI loads in every tenant's chroot (`file = /bin/user_wsgi_wrapper.py`).

Any other WSGI server takes it too: `from user_wsgi_wrapper.user_wsgi_wrapper import application`.
"""

import os
import sys

_path = sys.path[:]
_here = os.path.dirname(os.path.abspath(__file__))
_library = os.path.dirname(_here) if os.path.isdir(_here + "/runtime") else "/opt/user_wsgi_wrapper"  # inside.LIBRARY
_standard = os.path.dirname(os.path.abspath(os.__file__))
try:
    # The tenant's folder comes first on sys.path, as '' and '.': none of his modules may stand in for one of ours.
    sys.path[:] = [_library, *(entry for entry in _path if entry.startswith(_standard) and "-packages" not in entry)]
    from user_wsgi_wrapper.runtime.wrapper import Settings, build_application
finally:
    sys.path[:] = _path

application = build_application(Settings.from_environ(os.environ))
