"""Ports, taken before anything is made."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from deploy.errors import LaunchError
from shared.settings import Listen, Settings

BACKLOG = 1024
"""Connections that may wait to be accepted."""

_SILENT = 1
"""Seconds for which the kernel keeps a connection to itself whose client sends nothing."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Both hosts' sockets: bound and listening; what connects waits until a server runs on them."""

    api: socket.socket
    ui: socket.socket

    @classmethod
    @contextmanager
    def taken(cls, listen: Listen) -> Iterator[Ports]:
        """Take both ports for the context.

        Raises:
            LaunchError: one is in use.
        """
        with ExitStack() as stack:
            api = stack.enter_context(take_port(listen.host, listen.api_port, "API_PORT"))
            ui = stack.enter_context(take_port(listen.host, listen.ui_port, "UI_PORT"))
            yield cls(api, ui)

    def told(self, settings: Settings) -> Settings:
        """Return the settings with the ports that were taken, where any free one was asked for (port 0)."""
        update = {"api_port": port_of(self.api), "ui_port": port_of(self.ui)}
        return settings.model_copy(update={"listen": settings.listen.model_copy(update=update)})


def take_port(host: str, port: int, name: str) -> socket.socket:
    """Bind a port and listen, so that nobody else gets it while everything starts.

    A connection is accepted with the first bytes of its request, where the kernel can tell, or a second later.

    Args:
        name: how people choose another one, for example `API_PORT`.

    Raises:
        LaunchError: the port is busy, or the address cannot be listened on.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise LaunchError(f"cannot listen on {host}: {error.strerror}; choose another with listen.host") from error
    taken = socket.socket(family, kind, protocol)
    try:
        # Without it a port stays closed for a minute after a restart. With it, only listening shows that one is in use.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_DEFER_ACCEPT"):
            # A request wakes the process once, not its connection before it: of a crowd that connects, each would
            # wait for that. Source: tcp(7); ADR 0055.
            with suppress(OSError):  # Not every kernel that passes for Linux has it.
                taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _SILENT)
        taken.bind(address)
        taken.listen(BACKLOG)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise LaunchError(f"port {port} on {host} is in use: choose another with {name}=...") from None
        raise LaunchError(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another with {name}=..."
        ) from error
    taken.setblocking(False)
    return taken


def port_of(listening: socket.socket) -> int:
    """Return the port a socket is bound to."""
    return int(listening.getsockname()[1])
