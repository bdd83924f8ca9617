"""Ports of the real profile's servers: the same ones at every start of a data folder, while they are free."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

from deploy.errors import LaunchError
from deploy.processes import write_private

_FROM, _TO = 20_000, 32_000
"""Ports that are chosen from: below those that Linux gives to outgoing connections, which come and go."""

_TRIES = 1000


def choose_ports(names: Sequence[str], remembered: Path) -> dict[str, int]:
    """Return a port of 127.0.0.1 for each name, as in the last start where that one is still free.

    They are free at this moment, and not held: the servers bind them themselves.

    Args:
        names: what the ports are for.
        remembered: file with the ports of the last start; written anew.

    Raises:
        LaunchError: no port is free.
    """
    before = _read(remembered)
    chosen: dict[str, int] = {}
    for name in names:
        port = before.get(name, 0)
        if port in chosen.values() or not is_free(port):
            port = _any_free(set(chosen.values()) | set(before.values()))
        chosen[name] = port
    write_private(remembered, json.dumps(chosen))
    return chosen


def is_free(port: int) -> bool:
    """Return whether nobody listens on a port of 127.0.0.1; false for what is none."""
    if not _FROM <= port < _TO:
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            # With the option above, only listening shows that somebody else does.
            probe.listen(1)
        except OSError:
            return False
    return True


def _any_free(taken: set[int]) -> int:
    for _ in range(_TRIES):
        port = _FROM + secrets.randbelow(_TO - _FROM)
        if port not in taken and is_free(port):
            return port
    raise LaunchError(f"no port of 127.0.0.1 between {_FROM} and {_TO} is free: end what listens there")


def _read(remembered: Path) -> dict[str, int]:
    try:
        document = json.loads(remembered.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {name: port for name, port in document.items() if isinstance(port, int)}
