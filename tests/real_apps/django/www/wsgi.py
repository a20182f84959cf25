"""What the server loads: the Django project in the tenant's home folder."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path.home() / "project"))
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
