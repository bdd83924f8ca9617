"""Runs one process of each service on the servers of the real profile: Postgres, Redis and an S3 server over TLS."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import NotMeasured
from bench.running import Command, Running, free_port, running
from deploy.errors import LaunchError
from deploy.stack.nginx import Ingress, NginxServer
from deploy.stack.programs import Programs, cache_folder, ensure_programs
from deploy.stack.servers import make_servers
from deploy.stack.services import FACED, KINDS, initialise, write_settings

_PROGRAM = Path(sys.executable).with_name("countermark-server")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What runs.

    Attributes:
        data: folder of the deployment, with its settings.
        processes: kind -> the one process of it.
        ui: port of the gateway's host for people.
        programs: those of the real profile.
    """

    data: Path
    processes: Mapping[str, Running]
    ui: int
    programs: Programs


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Run it while the context is open.

    Args:
        folder: empty folder.

    Raises:
        NotMeasured: something is not installed, or does not start.
    """
    data = folder / "data"
    (data / "logs").mkdir(parents=True)
    upstreams = {name: free_port() for name in FACED}
    api, ui = free_port(), free_port()
    with asyncio.Runner() as runner, ExitStack() as stack:
        try:
            programs = ensure_programs(cache_folder(os.environ), lambda text: print(f"bench: {text}", file=sys.stderr))
            servers = make_servers(folder / "servers", programs)
            stack.callback(lambda: runner.run(servers.stop()))
            runner.run(servers.start())
            found = {f"upstreams.{name}": f"http://127.0.0.1:{port}" for name, port in upstreams.items()}
            hosts = {"listen.api_port": str(api), "listen.ui_port": str(ui), "stopping.delay": "0"}
            write_settings(data, servers.settings() | found | hosts)
            runner.run(initialise(data))
        except LaunchError as error:
            raise NotMeasured(str(error)) from error
        processes = {}
        # The gateway last: it is ready when the others are.
        for name in reversed(KINDS):
            port = api if name == "gateway" else upstreams.get(name) or free_port()
            argv = (str(_PROGRAM), name, "--data", str(data), "--set", f"listen.service_port={port}")
            command = Command(name, argv, folder / f"{name}.log", port, "/readyz")
            processes[name] = stack.enter_context(running(command))
        yield Cluster(data, processes, ui, programs)


@contextmanager
def ingress(running_cluster: Cluster, folder: Path) -> Iterator[Running]:
    """Run the nginx of the real profile in front of a cluster.

    Args:
        folder: empty folder for its configuration and logs.

    Raises:
        NotMeasured: it does not start.
    """
    upstreams = {name: [running_cluster.processes[name].port] for name in ("gateway", *FACED)}
    listens = Ingress(free_port(), free_port(), {}, upstreams | {"gateway-ui": [running_cluster.ui]})
    with asyncio.Runner() as runner:
        try:
            server = NginxServer(folder, running_cluster.programs.nginx, listens)
            runner.run(server.start())
        except LaunchError as error:
            raise NotMeasured(str(error)) from error
        try:
            yield Running(server.pid, listens.api, 0.0)
        finally:
            runner.run(server.stop())
