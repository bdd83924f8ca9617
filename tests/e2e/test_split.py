"""Each service in a process of its own, behind the gateway: the same flow as embedded, on servers given to it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from deploy.ports import port_of, take_port
from deploy.postgres import PostgresServer
from deploy.valkey import ValkeyServer
from tests.support.archives import make_wheel
from tests.support.clients import twine
from tests.support.processes import Process, program, server_command
from tests.support.servers import running, server_folder

_SERVICES = ("upload", "index", "download", "signing", "worker")

_READY = 60.0
"""Seconds in which all processes must be ready on a busy machine."""


@dataclass(frozen=True, slots=True)
class Split:
    """Processes by name, and where the gateway answers."""

    api: str
    environment: dict[str, str]
    processes: dict[str, Process]

    def ready(self) -> int:
        """Return the status of /readyz."""
        try:
            return httpx2.get(f"{self.api}/readyz", timeout=10).status_code
        except httpx2.TransportError:
            return 0

    def until_ready(self, expected: int = 200) -> None:
        """Return when /readyz has this status."""
        until = time.monotonic() + _READY
        while self.ready() != expected:
            assert time.monotonic() < until, {name: process.output[-2000:] for name, process in self.processes.items()}
            time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago, all different."""
    with ExitStack() as stack:
        return [port_of(stack.enter_context(take_port("127.0.0.1", 0, "X"))) for _ in range(count)]


@pytest.fixture(scope="module")
def split() -> Iterator[Split]:
    """A deployment of six processes on one Postgres, one Valkey and one folder."""
    with running(PostgresServer) as postgres, running(ValkeyServer) as valkey, server_folder() as folder:
        api, ui, *ports = free_ports(2 + len(_SERVICES))
        port_by_name = dict(zip(_SERVICES, ports, strict=True))
        environment = {
            "COUNTERMARK_DATA": str(folder),
            "COUNTERMARK_DATABASE__URL": postgres.url,
            "COUNTERMARK_QUEUE__URL": valkey.url,
            "COUNTERMARK_LISTEN__API_PORT": str(api),
            "COUNTERMARK_LISTEN__UI_PORT": str(ui),
            "COUNTERMARK_UPSTREAMS__UPLOAD": f"http://127.0.0.1:{port_by_name['upload']}",
            "COUNTERMARK_UPSTREAMS__INDEX": f"http://127.0.0.1:{port_by_name['index']}",
            "COUNTERMARK_UPSTREAMS__DOWNLOAD": f"http://127.0.0.1:{port_by_name['download']}",
        }
        refused = server_command("upload", environment=environment)
        assert (refused.returncode, "run countermark-server init" in refused.stderr) == (1, True)
        made = server_command("init", environment=environment)
        assert made.returncode == 0, made.stderr
        processes = {
            name: service(name, folder, environment | {"COUNTERMARK_LISTEN__SERVICE_PORT": str(port)})
            for name, port in port_by_name.items()
        }
        processes["gateway"] = service("gateway", folder, environment)
        deployment = Split(f"http://127.0.0.1:{api}", environment, processes)
        try:
            for process in processes.values():
                process.start()
            deployment.until_ready()
            yield deployment
        finally:
            for process in processes.values():
                process.end()


def service(name: str, folder: Path, environment: dict[str, str]) -> Process:
    """Return a process that is not started yet."""
    return Process((program("countermark-server"), name), folder / f"{name}.log", environment)


def token(split: Split) -> str:
    """Return a token made on the database itself."""
    made = server_command("token", "create", environment=split.environment)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def test_a_file_goes_through_all_processes(split: Split, tmp_path: Path) -> None:
    """An upload through the gateway is signed, listed and served by the others, and laid by the worker."""
    wheel = tmp_path / "apart-1.0-py3-none-any.whl"
    wheel.write_bytes(make_wheel("apart", "1.0"))
    done = twine(f"{split.api}/root/stable/", token(split), wheel)
    assert done.returncode == 0, done.stdout + done.stderr
    accept = {"accept": "application/vnd.pypi.simple.v1+json"}
    until = time.monotonic() + 10
    # The upload is answered when the signer has committed; another process learns of it by a notice.
    while (
        page := httpx2.get(f"{split.api}/root/stable/+simple/apart/", headers=accept, timeout=20)
    ).status_code != 200:
        assert time.monotonic() < until, page.text
        time.sleep(0.02)
    (file,) = page.json()["files"]
    url = httpx2.URL(f"{split.api}/root/stable/+simple/apart/").join(file["url"])
    assert httpx2.get(url, timeout=20).content == wheel.read_bytes()
    static = Path(split.environment["COUNTERMARK_DATA"], "objects/public/indexes/root/stable/simple/apart/index.html")
    while not static.exists():
        assert time.monotonic() < until, split.processes["worker"].output
        time.sleep(0.02)


def test_readiness_follows_the_services(split: Split) -> None:
    """When a service is gone the gateway says so, and all is well when it is back; SIGTERM ends it with 0."""
    upload = split.processes["upload"]
    upload.send(signal.SIGTERM)
    assert upload.wait() == 0
    split.until_ready(503)
    upload.start()
    split.until_ready(200)


@pytest.mark.parametrize("name", _SERVICES)
def test_every_process_says_how_it_is(split: Split, name: str) -> None:
    """Each has health routes on a port of its own, also those that serve nothing else."""
    port = split.processes[name].environment["COUNTERMARK_LISTEN__SERVICE_PORT"]
    for path in ("/healthz", "/readyz"):
        assert httpx2.get(f"http://127.0.0.1:{port}{path}", timeout=20).status_code == 200
