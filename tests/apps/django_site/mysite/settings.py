import json
import os

SECRET_KEY = os.environ.get("SHOP_SECRET_KEY", "")
DEBUG = False
ALLOWED_HOSTS = json.loads(os.environ.get("SHOP_HOSTS", "[]"))
ROOT_URLCONF = "mysite.urls"
INSTALLED_APPS = ["shop"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db"}}
if "SHOP_LOGS" in os.environ:
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": os.environ["SHOP_LOGS"] == "alone",
        "handlers": {"stderr": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["stderr"]},
    }
