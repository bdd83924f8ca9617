"""nginx as the ingress of the real profile: one listener for machines, one for people, one per service for the gateway.

Source: architecture sections 3, 7 and 9; contract python-index section 2.2 (uploads).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from deploy.errors import LaunchError
from deploy.processes import ServerCommand, server_user
from deploy.stack.children import ProgramChild, Terms, http_answer
from deploy.stack.routing import ROUTES

_TEMPLATE = Path(__file__).with_name("nginx.conf")

_TERMS = Terms(signal=signal.SIGQUIT, end=10.0)
"""Requests under way end first."""


@dataclass(frozen=True, slots=True)
class Ingress:
    """What nginx listens on and where it leads.

    Attributes:
        api: port of the host for machines.
        ui: port of the host for people.
        internal: service -> port at which the gateway finds it, whichever of its processes runs.
        upstreams: `gateway`, `gateway-ui` and each service -> ports of its processes.
    """

    api: int
    ui: int
    internal: Mapping[str, int]
    upstreams: Mapping[str, Sequence[int]]


class NginxServer(ProgramChild):
    """nginx in `folder`, which holds its configuration, logs and temporary files."""

    def __init__(self, folder: Path, program: Path, ingress: Ingress) -> None:
        self._root = folder.absolute()
        self._ingress = ingress
        own = self._root / "run"
        own.mkdir(mode=0o711, parents=True, exist_ok=True)
        # Started by root, it runs as the user that Postgres does: it needs to write into one folder, and to read one.
        user = server_user(self._root, own)
        if user is not None:
            try:
                os.chown(own, user.uid, user.gid)
            except OSError as error:
                raise LaunchError(f"{own} cannot be given to nginx's user: {error.strerror}") from error
        configuration = self._root / "nginx.conf"
        configuration.write_text(render(ingress, own), encoding="utf-8")
        configuration.chmod(0o644)
        argv = (str(program), "-e", "stderr", "-p", str(own), "-c", str(configuration))
        command = ServerCommand("nginx", argv, self._root / "nginx.log", signal.SIGTERM, user)
        super().__init__(command, self._root, self._check, _TERMS)

    @property
    def access_log(self) -> Path:
        """File with a line for each request, and which process answered it."""
        return self._root / "run" / "access.log"

    @property
    def internal(self) -> dict[str, str]:
        """Where the gateway finds each service: name -> URL."""
        return {name: f"http://127.0.0.1:{port}" for name, port in self._ingress.internal.items()}

    async def _check(self) -> str | None:
        return await http_answer(f"http://127.0.0.1:{self._ingress.api}/healthz")


def render(ingress: Ingress, folder: Path) -> str:
    """Return the configuration.

    Args:
        folder: for the pid file, logs and temporary files.
    """
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        folder=folder,
        routes="\n".join(f'        "~{pattern}" {service};' for pattern, service in ROUTES),
        upstreams="\n".join(_upstream(name, ports) for name, ports in ingress.upstreams.items()),
        internal="\n".join(_internal(name, port) for name, port in ingress.internal.items()),
        api=ingress.api,
        ui=ingress.ui,
    )


def _upstream(name: str, ports: Sequence[int]) -> str:
    servers = "\n".join(f"        server 127.0.0.1:{port} max_fails=1 fail_timeout=2s;" for port in ports)
    # Shorter than the 30 s for which our processes keep a connection, so that none is used while it is being closed.
    return f"    upstream {name} {{\n{servers}\n        keepalive 32;\n        keepalive_timeout 20s;\n    }}"


def _internal(name: str, port: int) -> str:
    listen = f"listen 127.0.0.1:{port};"
    return f"    server {{\n        {listen}\n        location / {{ proxy_pass http://{name}; }}\n    }}"
