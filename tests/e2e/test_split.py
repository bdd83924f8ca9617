"""Two processes of each service, behind two gateways: the same flow as embedded, on servers given to it."""

from __future__ import annotations

import itertools
import json
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
import pytest

from deploy.ports import port_of, take_port
from deploy.postgres import PostgresServer
from deploy.valkey import ValkeyServer
from tests.support.archives import make_wheel, wheel_name
from tests.support.clients import twine
from tests.support.processes import Process, program, server_command
from tests.support.servers import running, server_folder
from tests.support.tree_audit import audit, folder_reader
from tests.support.uploading import basic, post_file
from tests.support.waiting import until

_SERVICES = ("upload", "index", "download", "signing", "worker")

_REPLICAS = ("a", "b")
"""Each service runs once for each; each gateway is in front of those of its own letter."""

_READY = 120.0
"""Seconds in which all processes must be ready on a busy machine."""

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Split:
    """Processes by name and letter (`upload-a`), and where each gateway answers, by letter."""

    apis: dict[str, str]
    environment: dict[str, str]
    processes: dict[str, Process]

    @property
    def api(self) -> str:
        """URL of the first gateway."""
        return self.apis["a"]

    def ready(self, letter: str) -> int:
        """Return the status of a gateway's /readyz."""
        try:
            return httpx2.get(f"{self.apis[letter]}/readyz", timeout=10).status_code
        except httpx2.TransportError:
            return 0

    def until_ready(self, expected: int = 200, letter: str = "a") -> None:
        """Return when a gateway's /readyz has this status."""
        until = time.monotonic() + _READY
        while self.ready(letter) != expected:
            assert time.monotonic() < until, {name: process.output[-2000:] for name, process in self.processes.items()}
            time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago, all different."""
    with ExitStack() as stack:
        return [port_of(stack.enter_context(take_port("127.0.0.1", 0, "X"))) for _ in range(count)]


@pytest.fixture(scope="module")
def split() -> Iterator[Split]:
    """A deployment of twelve processes on one Postgres, one Valkey and one folder."""
    with running(PostgresServer) as postgres, running(ValkeyServer) as valkey, server_folder() as folder:
        environment = {
            "COUNTERMARK_DATA": str(folder),
            "COUNTERMARK_DATABASE__URL": postgres.url,
            "COUNTERMARK_DATABASE__POOL": "3",
            "COUNTERMARK_QUEUE__URL": valkey.url,
            "COUNTERMARK_STARTING__PATIENCE": "60",
            "COUNTERMARK_STOPPING__DELAY": "0",
        }
        refused = server_command("upload", environment=environment)
        assert (refused.returncode, "run countermark-server init" in refused.stderr) == (1, True)
        assert refused.stderr.count("\n") == 1, "one line says what is wrong"
        made = server_command("init", environment=environment)
        assert made.returncode == 0, made.stderr
        processes: dict[str, Process] = {}
        apis = {letter: add_replica(letter, folder, environment, processes) for letter in _REPLICAS}
        deployment = Split(apis, environment, processes)
        try:
            for process in processes.values():
                process.start()
            for letter in _REPLICAS:
                deployment.until_ready(letter=letter)
            yield deployment
        finally:
            for process in processes.values():
                process.end()


def add_replica(letter: str, folder: Path, environment: dict[str, str], processes: dict[str, Process]) -> str:
    """Add one process of each service and a gateway in front of them; returns the gateway's URL."""
    api, ui, *ports = free_ports(2 + len(_SERVICES))
    given = environment | {"COUNTERMARK_LISTEN__API_PORT": str(api), "COUNTERMARK_LISTEN__UI_PORT": str(ui)}
    for name, port in zip(_SERVICES, ports, strict=True):
        own = environment | {"COUNTERMARK_LISTEN__SERVICE_PORT": str(port)}
        processes[f"{name}-{letter}"] = service(name, folder / f"{name}-{letter}.log", own)
        if name != "worker":
            given[f"COUNTERMARK_UPSTREAMS__{name.upper()}"] = f"http://127.0.0.1:{port}"
    processes[f"gateway-{letter}"] = service("gateway", folder / f"gateway-{letter}.log", given)
    return f"http://127.0.0.1:{api}"


def service(name: str, log: Path, environment: dict[str, str]) -> Process:
    """Return a process that is not started yet."""
    return Process((program("countermark-server"), name), log, environment)


def token(split: Split) -> str:
    """Return a token made on the database itself."""
    made = server_command("token", "create", environment=split.environment)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def _is_reached(url: str) -> bool:
    return httpx2.get(url, timeout=20).status_code != httpx2.codes.SERVICE_UNAVAILABLE


def test_approvals_reach_the_signing_process(split: Split) -> None:
    """What waits is told by another process than the one that is asked; the rest of the API goes on beside it."""
    for letter in _REPLICAS:
        waiting = f"{split.apis[letter]}/api/v1/indexes/root/stable/approvals"
        # A gateway is ready without the signing service, which may still be starting.
        until("the signing service", partial(_is_reached, waiting))
        answer = httpx2.get(waiting, timeout=20)
        assert (answer.status_code, answer.json()) == (200, {"items": [], "next": None})
    refused = httpx2.get(f"{split.api}/api/v1/approval-keys", timeout=20)
    assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")


def test_a_file_goes_through_all_processes(split: Split, tmp_path: Path) -> None:
    """An upload through the gateway is signed, listed and served by the others, and laid by the worker."""
    wheel = tmp_path / "apart-1.0-py3-none-any.whl"
    wheel.write_bytes(make_wheel("apart", "1.0"))
    done = twine(f"{split.api}/root/stable/", token(split), wheel)
    assert done.returncode == 0, done.stdout + done.stderr
    accept = {"accept": "application/vnd.pypi.simple.v1+json"}
    simple = f"{split.api}/root/stable/+simple/apart/"
    # The upload is answered when the signer has committed; another process learns of it by a notice.
    until("the page", lambda: httpx2.get(simple, timeout=20).status_code == 200)
    (file,) = httpx2.get(simple, headers=accept, timeout=20).json()["files"]
    url = httpx2.URL(simple).join(file["url"])
    assert httpx2.get(url, timeout=20).content == wheel.read_bytes()
    static = Path(split.environment["COUNTERMARK_DATA"], "objects/public/indexes/root/stable/simple/apart/index.html")
    until("the static page", static.exists)


def test_ceremonies_reach_the_signer_through_the_gateway(split: Split) -> None:
    """Strangers are asked for credentials by the signing process; an administrator opens an event and ends it."""
    url = f"{split.api}/api/v1/trust"
    assert httpx2.get(url, timeout=20).status_code == 401
    made = server_command("token", "create", "--index", "*", "--verbs", "read,configure", environment=split.environment)
    headers = basic(made.stdout.strip())
    assert httpx2.get(url, headers=headers, timeout=20).json()["missing"] == []
    body = {"role": "trust", "change": {}, "reason": "to renew it"}
    event = httpx2.post(f"{url}/events", json=body, headers=headers, timeout=20)
    assert event.status_code == 201, event.text
    ended = httpx2.post(
        f"{url}/events/{event.json()['id']}/withdraw", json={"reason": "a test"}, headers=headers, timeout=20
    )
    assert ended.json()["state"] == "withdrawn"


def test_readiness_follows_the_services(split: Split) -> None:
    """When a service is gone the gateway says so, and all is well when it is back; SIGTERM ends it with 0."""
    upload = split.processes["upload-a"]
    upload.send(signal.SIGTERM)
    assert upload.wait() == 0
    split.until_ready(503)
    upload.start()
    split.until_ready(200)


@pytest.mark.parametrize("name", [f"{name}-{letter}" for name in _SERVICES for letter in _REPLICAS])
def test_every_process_says_how_it_is(split: Split, name: str) -> None:
    """Each has health routes on a port of its own, also those that serve nothing else."""
    port = split.processes[name].environment["COUNTERMARK_LISTEN__SERVICE_PORT"]
    for path in ("/healthz", "/readyz"):
        assert httpx2.get(f"http://127.0.0.1:{port}{path}", timeout=20).status_code == 200


def test_two_signers_and_two_relays_never_collide(split: Split) -> None:
    """Many uploads at once through both gateways: each is published once, under serials without a gap, and both show
    all."""
    secret = token(split)
    names = [f"crowd{number}" for number in range(24)]

    def send(number: int) -> httpx2.Response:
        name = wheel_name(names[number], "1.0")
        api = split.apis[_REPLICAS[number % 2]]
        return post_file(f"{api}/root/stable", secret, name, make_wheel(names[number], "1.0"))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(len(names))))
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]

    def shown(letter: str, name: str) -> bool:
        return httpx2.get(f"{split.apis[letter]}/root/stable/+simple/{name}/", timeout=20).status_code == 200

    for letter, name in itertools.product(_REPLICAS, names):
        until(f"{name} at {letter}", partial(shown, letter, name))
    listing = f"{split.api}/api/v1/indexes/root/stable/publications?limit=100"
    published = httpx2.get(listing, headers=basic(secret), timeout=20).json()["items"]
    serials = [item["serial"] for item in published]
    assert serials == list(range(max(serials), max(serials) - len(serials), -1))
    added = [line["action"] for item in published for line in item["journal"] if line["project"].startswith("crowd")]
    assert sorted(added) == sorted({*added}), "each once"
    dead = server_command("jobs", "dead", "--json", environment=split.environment)
    assert json.loads(dead.stdout) == []


def test_a_signer_and_a_worker_may_go(split: Split, tmp_path: Path) -> None:
    """With one of each gone the others do all; SIGTERM ends them with 0, and they come back."""
    gone = [split.processes[name] for name in ("signing-a", "worker-b", "download-b")]
    for process in gone:
        process.send(signal.SIGTERM)
    assert [process.wait() for process in gone] == [0, 0, 0]
    wheel = tmp_path / "alone-1.0-py3-none-any.whl"
    wheel.write_bytes(make_wheel("alone", "1.0"))
    done = twine(f"{split.api}/root/stable/", token(split), wheel)
    assert done.returncode == 0, done.stdout + done.stderr
    page = f"{split.api}/root/stable/+simple/alone/"
    until("the page", lambda: httpx2.get(page, timeout=20).status_code == 200)
    for process in gone:
        process.start()
    split.until_ready(letter="b")


@pytest.mark.parametrize("point", ["publish.metadata", "switch.committed"])
def test_a_signer_that_stood_still_changes_nothing_when_it_wakes(split: Split, point: str) -> None:
    """One stops before or after its commit, another takes over; the first wakes up, and nothing goes back."""
    folder = Path(split.environment["COUNTERMARK_DATA"])
    signers = [split.processes[f"signing-{letter}"] for letter in _REPLICAS]
    for signer in signers:
        signer.send(signal.SIGTERM)
        assert signer.wait() == 0
    argv = (sys.executable, "-m", "tests.support.mortal", point, "1", "pause", "signing")
    sleeper = Process(argv, folder / f"sleeper-{point}.log", signers[0].environment)
    sleeper.start()
    try:
        wake_after_another_took_over(split, sleeper, signers[1], point)
    finally:
        sleeper.send(signal.SIGCONT)
        sleeper.end()
        for signer in signers:
            if not signer.runs:
                signer.start()
                signer.until_written("signing: port")


def wake_after_another_took_over(split: Split, sleeper: Process, other: Process, point: str) -> None:
    """Upload with the sleeper, which stops at a point; let the other signer publish, then wake the sleeper."""
    public = Path(split.environment["COUNTERMARK_DATA"], "objects/public")
    project, secret = f"sleepless-{point.partition('.')[0]}", token(split)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(upload, split, secret, project, "1.0")
        until("the sleeper stops", lambda: f"fault point {point} reached" in sleeper.output)
        other.start()
        assert first.result().status_code == 200
    second = upload(split, secret, project, "2.0")
    assert second.status_code == 200, second.text
    names = {wheel_name(project, version) for version in ("1.0", "2.0")}
    reader = folder_reader(public, "root/stable")
    until("both are published", lambda: audit(reader).listed(project) == names)
    found = audit(reader)
    sleeper.send(signal.SIGCONT)
    until("the sleeper ends its job", lambda: "job" in sleeper.output.rpartition("fault point")[2])
    woken = audit(reader)
    assert woken.faults == []
    assert woken.listed(project) == names
    assert woken.versions["timestamp"] >= found.versions["timestamp"]
    sleeper.send(signal.SIGTERM)
    assert sleeper.wait() == 0


def upload(split: Split, secret: str, project: str, version: str) -> httpx2.Response:
    """Upload a wheel through the first gateway."""
    wheel = make_wheel(project, version)
    return post_file(f"{split.api}/root/stable", secret, wheel_name(project, version), wheel)
