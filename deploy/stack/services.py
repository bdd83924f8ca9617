"""Our own processes in the real profile: two of each, configured by one file in the data folder and by their ports."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.errors import LaunchError
from deploy.processes import ServerCommand, last_line, start_server, write_private
from deploy.settings_source import FILE_NAME
from deploy.stack.children import ProgramChild, Terms, http_answer

EACH = 2
"""Processes of each kind."""

FACED = ("upload", "index", "download", "signing")
"""Services that requests reach; the gateway is in front of them."""

KINDS = ("gateway", *FACED, "worker")
"""Kinds of processes, in the order in which they are told to end."""

_TERMS = Terms(ready=90.0, end=45.0)
"""A start loads the services, which takes processor time; an end lets requests, then jobs under way finish, each within
`stopping.grace`.
"""

OWN_SETTINGS = {
    # nginx does not ask whether a process is ready: it notices that one is gone, and asks the other.
    "stopping.delay": "0",
}
"""What the real profile sets otherwise than the defaults."""

_HEADER = "# Made at each start of the real profile (make stack); changes in here are lost. It holds passwords.\n"

_OWNER_LINK = re.compile(r"owner link [^:]*: (\S+)")

_OURS = "COUNTERMARK_"


class ServiceProcess(ProgramChild):
    """One process of ours, number 1 or 2 of its kind.

    Args:
        data: the deployment's data folder, with its settings file.
        ports: what it listens on: setting -> port.
    """

    def __init__(self, data: Path, kind: str, number: int, ports: Mapping[str, int]) -> None:
        self._port, self._metrics_port = next(iter(ports.values())), ports["listen.metrics_port"]
        name = f"{kind}-{number}"
        environment = clean_environment(os.environ)
        environment |= {f"{_OURS}{key.replace('.', '__').upper()}": str(port) for key, port in ports.items()}
        argv = (sys.executable, "-m", "deploy.launch", kind, "--data", str(data))
        log = data / "logs" / f"{name}.log"
        command = ServerCommand(name, argv, log, signal.SIGTERM, environment=environment)
        super().__init__(command, data / "run" / name, self._check, _TERMS)

    @property
    def port(self) -> int:
        """Its port; the gateway's for machines."""
        return self._port

    @property
    def metrics(self) -> str:
        """URL of its metrics."""
        return f"http://127.0.0.1:{self._metrics_port}/metrics"

    async def _check(self) -> str | None:
        return await http_answer(f"http://127.0.0.1:{self._port}/readyz")


def port_names() -> list[str]:
    """Return what our processes need ports for: `gateway-1`, `gateway-ui-1`, `metrics-gateway-1`, `to-upload`, ..."""
    kinds = [*KINDS, "gateway-ui", *(f"metrics-{kind}" for kind in KINDS)]
    return [f"{kind}-{number}" for kind in kinds for number in range(1, EACH + 1)] + [f"to-{name}" for name in FACED]


def make_processes(data: Path, ports: Mapping[str, int]) -> dict[str, list[ServiceProcess]]:
    """Return all processes, not started: kind -> its processes.

    Args:
        ports: of `port_names`.
    """
    (data / "logs").mkdir(mode=0o700, exist_ok=True)
    made: dict[str, list[ServiceProcess]] = {}
    for kind in KINDS:
        made[kind] = []
        for number in range(1, EACH + 1):
            if kind == "gateway":
                listens = {
                    "listen.api_port": ports[f"gateway-{number}"],
                    "listen.ui_port": ports[f"gateway-ui-{number}"],
                }
            else:
                listens = {"listen.service_port": ports[f"{kind}-{number}"]}
            listens["listen.metrics_port"] = ports[f"metrics-{kind}-{number}"]
            made[kind].append(ServiceProcess(data, kind, number, listens))
    return made


def upstreams(processes: Mapping[str, Sequence[ServiceProcess]], ports: Mapping[str, int]) -> dict[str, list[int]]:
    """Return what the ingress leads to: name -> ports."""
    found = {name: [process.port for process in processes[name]] for name in ("gateway", *FACED)}
    found["gateway-ui"] = [ports[f"gateway-ui-{number}"] for number in range(1, EACH + 1)]
    return found


def write_settings(data: Path, settings: Mapping[str, str]) -> None:
    """Write the settings file that our processes and the operator's commands read.

    Args:
        settings: key -> value.

    Raises:
        LaunchError: there is a settings file of somebody else's.
    """
    path = data / FILE_NAME
    if path.exists() and not path.read_text(encoding="utf-8").startswith(_HEADER):
        raise LaunchError(
            f"{path} would be overwritten: move it away, and give settings of your own with SET=key=value"
        )
    # A JSON string is a TOML string too.
    write_private(path, _HEADER + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))


async def initialise(data: Path) -> str | None:
    """Run `countermark-server init` on the settings file; returns the owner link when the deployment was made now.

    Raises:
        LaunchError: it failed; says why.
    """
    log = data / "logs" / "init.log"
    log.unlink(missing_ok=True)
    argv = (sys.executable, "-m", "deploy.launch", "init", "--data", str(data))
    command = ServerCommand("init", argv, log, signal.SIGTERM, environment=clean_environment(os.environ))
    server = await start_server(command)
    try:
        code = await server.wait()
    finally:
        await server.stop((signal.SIGTERM, 10.0))
    if code != 0:
        raise LaunchError(f"the deployment cannot be made: {last_line(log)} (log: {log})")
    found = _OWNER_LINK.search(log.read_text(encoding="utf-8", errors="replace"))
    return None if found is None else found[1]


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without settings of ours: those of the stack lie in its file."""
    return {name: value for name, value in environ.items() if not name.startswith(_OURS)}
