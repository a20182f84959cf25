"""What the modules of this folder look up: digests of files, and one request's lines in a site's logs."""

from __future__ import annotations

import hashlib

from tests.real_apps.hosting import Tenant

MIB = 1 << 20


def digest(content: bytes) -> str:
    """The SHA-256 of some bytes, as the applications give it."""
    return hashlib.sha256(content).hexdigest()


def access_id(tenant: Tenant, request_line: str) -> str:
    """The request id at the end of the one access line of a request."""
    lines = tenant.stack.wait_for_log(tenant.domain, f'"{request_line} HTTP', "access").splitlines()
    (line,) = [line for line in lines if f'"{request_line} HTTP' in line]
    return line.split()[-1]


def record(tenant: Tenant, request_id: str, end: str) -> str:
    """The error log's lines of one request, once `end` stands in the log."""
    lines = tenant.stack.wait_for_log(tenant.domain, end).splitlines()
    return "\n".join(line for line in lines if f"[{request_id}]" in line)
