"""One running stack with four tenants, shared by the modules of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import live_stack
from tests.live import LiveStack
from tests.real_apps.hosting import Tenant, host

DJANGO_PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="package")
def shared_stack() -> Iterator[LiveStack]:
    """A running stack; everything it made must be gone in the end."""
    with live_stack() as live:
        yield live


@pytest.fixture(scope="package")
def tenants(shared_stack: LiveStack) -> dict[str, Tenant]:
    """The four tenants by their framework, with different numbers of workers and threads."""
    secret = ("--env", "DJANGO_SECRET_KEY=50% of it is =;:'\"!")
    many = ("--processes", "2", "--threads", "4")
    django = host(shared_stack, "django", "django.example.com", "AdaLovelace", *many, *secret)
    _set_up_django(django)
    return {
        "django": django,
        "flask": host(shared_stack, "flask", "flask.example.org", "flora", "--threads", "1"),
        "bottle": host(shared_stack, "bottle", "bottle.example.net", "boris", "--threads", "4"),
        "pyramid": host(shared_stack, "pyramid", "pyramid.example.com", "Pia_R", "--processes", "2"),
    }


def _set_up_django(tenant: Tenant) -> None:
    """The tenant's own commands, in his chroot, which his first visitor has brought about."""
    first = tenant.browser().request("/about")
    assert first.status == 200, f"{first.text}{tenant.stack.log(tenant.domain)}{tenant.stack.own_logs()}"
    manage = (f"{tenant.venv}/bin/python", "manage.py")
    secret = {"DJANGO_SECRET_KEY": "any will do for these commands"}
    who = ("--username=ada", "--email=ada@example.com")
    assert "Create model Document" in tenant.run(*manage, "makemigrations", "documents", **secret)
    tenant.run(*manage, "migrate", **secret)
    tenant.run(*manage, "createsuperuser", "--noinput", *who, DJANGO_SUPERUSER_PASSWORD=DJANGO_PASSWORD, **secret)
    assert "static files copied" in tenant.run(*manage, "collectstatic", "--noinput", **secret)


@pytest.fixture(params=("django", "flask", "bottle", "pyramid"))
def tenant(request: pytest.FixtureRequest, tenants: dict[str, Tenant]) -> Tenant:
    """Each of the tenants in turn."""
    return tenants[request.param]


@pytest.fixture
def django(tenants: dict[str, Tenant]) -> Tenant:
    return tenants["django"]


@pytest.fixture
def flask(tenants: dict[str, Tenant]) -> Tenant:
    return tenants["flask"]


@pytest.fixture
def bottle(tenants: dict[str, Tenant]) -> Tenant:
    return tenants["bottle"]


@pytest.fixture
def pyramid(tenants: dict[str, Tenant]) -> Tenant:
    return tenants["pyramid"]
