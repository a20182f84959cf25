"""What the Emperor tells of its vassals (emperor-stats-server), and which unix sockets are listened at."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from user_wsgi_wrapper.layout import Layout

_MOST = 64 * 1024 * 1024  # bytes; half a kilobyte a vassal
_PATIENCE = 5.0  # seconds
_ACCEPTS = 0x10000  # __SO_ACCEPTCON of the kernel's unix sockets, proc(5)


@dataclass(frozen=True)
class VassalState:
    """One vassal: how often it was started again, and whether the Emperor waits before it starts it again."""

    respawns: int
    is_held_back: bool


@dataclass(frozen=True)
class EmperorReport:
    """What the Emperor knows."""

    document: dict[str, Any]

    def of(self, domain: str) -> VassalState | None:
        """The site's vassal; None if the Emperor hasn't taken it up."""
        name = f"{domain}.ini"
        held_back = any(one.get("id") == name for one in self.document.get("blacklist", ()))
        for one in self.document.get("vassals", ()):
            if one.get("id") == name:
                return VassalState(int(one.get("respawns", 0)), held_back)
        return VassalState(0, True) if held_back else None


def read(layout: Layout) -> EmperorReport | None:
    """The report of the Emperor that runs; None if none does, or if it doesn't answer in time."""
    text = b""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_PATIENCE)
            client.connect(str(layout.emperor_stats_socket))
            while len(text) < _MOST and (block := client.recv(1 << 16)):
                text += block
        document = json.loads(text)
    except (OSError, ValueError):
        return None
    return EmperorReport(document) if isinstance(document, dict) else None


def listens(path: Path) -> bool:
    """Whether somebody listens at the unix socket, without knocking there, which would wake a site (proc(5))."""
    wanted = str(path)
    for line in Path("/proc/net/unix").read_text(errors="replace").splitlines()[1:]:
        fields = line.split(None, 7)
        if len(fields) == 8 and fields[7] == wanted and int(fields[3], 16) & _ACCEPTS:
            return True
    return False
