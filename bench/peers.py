"""The same application under each peer that this project is measured beside; needs the `bench` environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]

ROOT = Path(__file__).resolve().parents[1]


def bare(app: Application) -> Application:
    return app


def sentry(app: Application) -> Application:
    import sentry_sdk
    from sentry_sdk.integrations.wsgi import SentryWsgiMiddleware
    from sentry_sdk.transport import Transport

    class Nowhere(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            pass

    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Nowhere)
    return SentryWsgiMiddleware(app)


def werkzeug_debugger(app: Application) -> Application:
    from werkzeug.debug import DebuggedApplication

    return DebuggedApplication(app, evalex=False)


def paste(app: Application) -> Application:
    from paste.exceptions.errormiddleware import ErrorMiddleware

    return ErrorMiddleware(app, {}, error_log=os.devnull)


def elastic_apm(app: Application) -> Application:
    """Its WSGI middleware reports errors only: with a transaction a request, as its Flask support makes them."""
    import elasticapm
    from elasticapm.middleware import ElasticAPM

    client = elasticapm.Client(
        service_name="bench", central_config=False, metrics_interval="0s", cloud_provider="none",
        disable_send=True,
    )  # fmt: skip

    reporting = ElasticAPM(app, client)

    def traced(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        client.begin_transaction("request")
        try:
            return reporting(environ, start_response)
        finally:
            client.end_transaction(environ["PATH_INFO"], "HTTP 2xx")

    return traced


def opentelemetry(app: Application) -> Application:
    from opentelemetry import trace
    from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())  # spans are recorded and go nowhere
    return OpenTelemetryMiddleware(app)


def validate(app: Application) -> Application:
    from wsgiref.validate import validator

    return validator(app)


CAPTURING = {
    "sentry-sdk": sentry, "werkzeug DebuggedApplication": werkzeug_debugger, "Paste ErrorMiddleware": paste,
    "elastic-apm": elastic_apm, "opentelemetry-wsgi": opentelemetry, "wsgiref.validate": validate,
}  # fmt: skip


def whitenoise_autorefresh(app: Application, folder: str) -> Application:
    from whitenoise import WhiteNoise

    return WhiteNoise(app, root=folder, prefix="static/", autorefresh=True)


def whitenoise_indexed(app: Application, folder: str) -> Application:
    from whitenoise import WhiteNoise

    return WhiteNoise(app, root=folder, prefix="static/")


def shared_data(app: Application, folder: str) -> Application:
    from werkzeug.middleware.shared_data import SharedDataMiddleware

    return SharedDataMiddleware(app, {"/static": folder})


def ours_static(app: Application, folder: str) -> Application:
    """The lookup of `runtime.static` alone, as the other rows are a lookup alone."""
    sys.path.insert(0, str(ROOT))
    from user_wsgi_wrapper.runtime.static import StaticFiles

    serve = StaticFiles([("/static", folder)]).serve

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        found = serve(environ, start_response)
        return app(environ, start_response) if found is None else found

    return application


STATIC = {
    "this project": ours_static, "WhiteNoise, autorefresh": whitenoise_autorefresh,
    "WhiteNoise, indexed": whitenoise_indexed, "werkzeug SharedDataMiddleware": shared_data,
}  # fmt: skip
