"""Ask something with a tenant's ids, so that the kernel says what the tenant may: access(2) of root tells nothing.

The child runs code of ours alone and executes nothing. The change of ids makes it undumpable (credentials(7)), so no
process of the tenant's can trace it or read its memory; to stop or to kill it is all that they can do.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any

from user_wsgi_wrapper.emperor_hook import privileges
from user_wsgi_wrapper.emperor_hook.unix_ids import Identity

_MOST = 4 * 1024 * 1024  # bytes of an answer
_PATIENCE = 10.0  # seconds


class AskError(Exception):
    """There was no answer; str() is one line."""


def ask(identity: Identity, question: Callable[[], Any], patience: float = _PATIENCE) -> Any:
    """What `question` gives, called in a process that has the tenant's uid and gid and no other privilege.

    The answer must be fit for JSON. Raises AskError if there is none within `patience` seconds, or an error.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(identity, question, writer)
    os.close(writer)
    try:
        text = _read(reader, time.monotonic() + patience)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)  # one that is done isn't hurt
        os.waitpid(child, 0)
    return _parse(text, identity)


def _answer(identity: Identity, question: Callable[[], Any], writer: int) -> None:
    try:
        os.setsid()
        privileges.give_up()
        os.setgroups([])
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
        text = json.dumps({"answer": question()})
    except BaseException as error:
        text = json.dumps({"error": f"{type(error).__name__}: {error}"})
    try:
        data = text.encode()
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


def _read(reader: int, deadline: float) -> bytes:
    text, poller = b"", select.poll()
    poller.register(reader, select.POLLIN)
    while len(text) < _MOST and poller.poll(max(deadline - time.monotonic(), 0) * 1000):
        block = os.read(reader, 65536)
        if not block:
            return text
        text += block
    return b""


def _parse(text: bytes, identity: Identity) -> Any:
    try:
        document = json.loads(text)
    except ValueError:
        raise AskError(f"no answer from a process with the ids of {identity.username}; try again") from None
    if "error" in document:
        raise AskError(f"as {identity.username}: {document['error']}")
    return document["answer"]
