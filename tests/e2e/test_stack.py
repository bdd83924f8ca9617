"""The real profile itself: what goes past the gateway, what is started again, redirects to the S3 server, mistakes."""

from __future__ import annotations

import re
import signal
import ssl
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from deploy.stack.ports import choose_ports
from tests.support.archives import make_wheel, wheel_name
from tests.support.clients import VerifyingClient
from tests.support.installers import Source, Wish, installed, pip, uv
from tests.support.processes import Deployment, Process, places, program, run, server_command, start_stack, until_gone
from tests.support.tools import Tools
from tests.support.uploading import post_file
from tests.support.waiting import until

pytestmark = pytest.mark.stack

LARGE = 5 << 20
"""Bytes of a wheel that no service keeps in memory."""


def upload(deployment: Deployment, file_name: str, content: bytes) -> httpx2.Response:
    """POST a file as upload tools do."""
    return post_file(f"{deployment.api}/root/stable", deployment.token(), file_name, content)


def test_hot_reads_go_past_the_gateway(deployment: Deployment) -> None:
    """Pages, metadata and files are answered by index and download, uploads and all else by a gateway."""
    assert upload(deployment, wheel_name("stack-hot", "1.0"), make_wheel("stack-hot", "1.0")).status_code == 200
    page = f"{deployment.api}/root/stable/+simple/stack-hot/"
    until("the page", lambda: httpx2.get(page).status_code == 200, 10)
    answer = httpx2.get(page, headers={"accept": "application/vnd.pypi.simple.v1+json"})
    file = str(httpx2.URL(page).join(answer.json()["files"][0]["url"]))
    paths = {
        page: "index",
        page.replace("+", "%2B"): "index",
        f"{deployment.api}/root/stable/+tuf/metadata/timestamp.json": "index",
        f"{deployment.api}/root/stable/pypi/stack-hot/json": "index",
        file: "download",
        f"{deployment.api}/healthz": "gateway",
    }
    for url in paths:
        assert httpx2.get(url).status_code == 200, url
    log = deployment.data / "nginx" / "run" / "access.log"
    by_address = {address.removeprefix("http://"): name for name, (_, address) in places(deployment).items()}
    targets = {url: url.removeprefix(deployment.api) for url in paths}
    # Written every second.
    until("the log", lambda: all(f" {target} " in log.read_text() for target in targets.values()), 10)
    # Time, method, target, status, bytes, seconds, and the process: of several tried, the last one answered.
    lines = [re.split(r"(?<!,) ", line) for line in log.read_text().splitlines()]
    seen = {
        line[2]: by_address[line[6].rpartition(" ")[2]].partition("-")[0]
        for line in lines
        if line[2] in targets.values()
    }
    assert {url: seen[target] for url, target in targets.items()} == paths


def test_a_killed_process_is_told_of_and_started_again(deployment: Deployment) -> None:
    """After kill -9 of one of two the other answers, the end is told loudly, and a new process takes its place."""
    killed, address = places(deployment)["index-2"]
    page = f"{deployment.api}/root/stable/+simple/"
    run("/bin/kill", "-9", str(killed))
    assert until_gone({killed}) == set()
    assert {httpx2.get(page).status_code for _ in range(20)} == {200}
    deployment.process.until_written("!!! index-2 ended: by SIGKILL; ")
    again = r"!!! index-2 runs again \(process (\d+)\)"
    until("index-2 again", lambda: re.search(again, deployment.process.output))
    assert httpx2.get(f"{address}/readyz", timeout=20).status_code == 200


def test_every_process_tells_its_metrics_inside_only(deployment: Deployment) -> None:
    """Each of ours has /metrics on a port of its own; the ingress does not lead there."""
    found = re.findall(r"http://127\.0\.0\.1:\d+/metrics", deployment.process.output)
    assert len(set(found)) == 12
    for url in found:
        assert "process_resident_memory_bytes" in httpx2.get(url, timeout=20).text
    assert deployment.get("/metrics").status_code == 404


def test_limits_are_counted_for_each_client(deployment: Deployment) -> None:
    """Who tries to sign in too often is refused, and another address behind the same ingress is not."""

    def sign_in(address: str) -> int:
        with httpx2.Client(transport=httpx2.HTTPTransport(local_address=address)) as client:
            return client.get(f"{deployment.ui}/login", headers={"x-forwarded-for": "192.0.2.1"}).status_code

    # 60 in five minutes; twice as many, since a new five minutes may begin meanwhile.
    assert [sign_in("127.0.0.2") for _ in range(121)].count(429) > 0
    assert sign_in("127.0.0.2") == 429
    assert sign_in("127.0.0.3") == 303


def test_secrets_are_for_the_owner_alone(deployment: Deployment) -> None:
    """Settings with passwords, keys and logs cannot be read by other users, and no command line shows a secret."""
    data = deployment.data
    keys = [*(data / "keys").iterdir(), data / "servers" / "tls" / "server.key"]
    for secret in (data / "countermark.toml", data / "running.json", *keys, *(data / "logs").iterdir()):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600, secret
    settings = (data / "countermark.toml").read_text()
    database = re.search(r"database\.url = \"\S+://\w+:(\S+?)@", settings)
    secrets = re.findall(r'objects\.secret_key = "(\S+)"', settings)
    assert database is not None
    assert secrets
    for pid in deployment.process.family():
        command_line = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        assert not any(secret in command_line for secret in (database[1], *secrets)), command_line


@dataclass(frozen=True, slots=True)
class Redirecting:
    """A gateway and a download service beside the others, which lead clients of large files to the S3 server."""

    api: str
    ca_file: Path
    wheel: str
    content: bytes

    @property
    def simple(self) -> str:
        """Its default index."""
        return f"{self.api}/root/stable/+simple/"


@pytest.fixture(scope="module")
def redirecting(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redirecting]:
    """Two more processes on the deployment's servers, and a large wheel that is published."""
    folder = tmp_path_factory.mktemp("redirecting")
    wheel, content = wheel_name("stack-large", "1.0"), make_wheel("stack-large", "1.0", payload_bytes=LARGE)
    assert upload(deployment, wheel, content).status_code == 200
    ports = choose_ports(["service", "api", "ui"], folder / "ports.json")
    variables = {
        "download": {
            "COUNTERMARK_LISTEN__SERVICE_PORT": str(ports["service"]),
            "COUNTERMARK_DOWNLOADS__REDIRECT": "true",
        },
        "gateway": {
            "COUNTERMARK_LISTEN__API_PORT": str(ports["api"]),
            "COUNTERMARK_LISTEN__UI_PORT": str(ports["ui"]),
            "COUNTERMARK_UPSTREAMS__DOWNLOAD": f"http://127.0.0.1:{ports['service']}",
        },
    }
    api = f"http://127.0.0.1:{ports['api']}"
    with ExitStack() as stack:
        for name, environment in variables.items():
            argv = (program("countermark-server"), name, "--data", str(deployment.data))
            process = Process(argv, folder / f"{name}.log", environment)
            process.start()
            stack.callback(process.end)
        until("the two processes", lambda: _status(f"{api}/readyz") == 200)
        yield Redirecting(api, deployment.data / "servers" / "tls" / "ca.pem", wheel, content)


def _status(url: str) -> int:
    try:
        return httpx2.get(url, timeout=10).status_code
    except httpx2.TransportError:
        return 0


def test_a_large_file_is_redirected_to_the_store(redirecting: Redirecting) -> None:
    """The answer is a redirect to a short-lived https URL of the S3 server, where the very bytes lie."""
    page = f"{redirecting.simple}stack-large/"
    answer = httpx2.get(page, headers={"accept": "application/vnd.pypi.simple.v1+json"})
    file = httpx2.URL(page).join(answer.json()["files"][0]["url"])
    elsewhere = httpx2.get(file)
    assert (elsewhere.status_code, elsewhere.headers["cache-control"]) == (302, "no-store")
    location = elsewhere.headers["location"]
    assert location.startswith("https://127.0.0.1:")
    assert "X-Amz-Expires=" in location
    trusted = ssl.create_default_context(cafile=redirecting.ca_file)
    assert httpx2.get(location, verify=trusted).content == redirecting.content


def test_pip_follows_to_the_store_when_it_trusts_its_authority(
    redirecting: Redirecting, tools: Tools, tmp_path: Path
) -> None:
    """With PIP_CERT the wheel comes from the store; without it pip refuses the certificate."""
    wish = Wish("stack-large", Source(redirecting.simple), tmp_path / "consumer")
    pip(tools.with_settings(PIP_CERT=str(redirecting.ca_file)), wish)
    assert installed(wish.environment) == {"stack-large": "1.0"}
    options = ("--index-url", redirecting.simple, "--no-cache-dir", "--retries", "0", "--dest", tmp_path / "none")
    said = tools.refused("pip", "download", *options, "stack-large")
    assert "CERTIFICATE_VERIFY_FAILED" in said


def test_uv_follows_to_the_store_when_it_trusts_its_authority(
    redirecting: Redirecting, tools: Tools, tmp_path: Path
) -> None:
    """With SSL_CERT_FILE uv installs the wheel from the store."""
    wish = Wish("stack-large", Source(redirecting.simple), tmp_path / "consumer")
    uv(tools.with_settings(SSL_CERT_FILE=str(redirecting.ca_file)), wish)
    assert installed(wish.environment) == {"stack-large": "1.0"}


def test_our_client_follows_to_the_store_and_proves_what_it_got(redirecting: Redirecting, tmp_path: Path) -> None:
    """`countermark download` takes the bytes from the store and proves them as any others; without trust it fails."""
    repository = ("--repository", f"{redirecting.api}/root/stable", "--trust-on-first-use")
    environment = {"COUNTERMARK_HOME": str(tmp_path / "home"), "SSL_CERT_FILE": str(redirecting.ca_file)}
    argv = (program("countermark"), "download", *repository, "stack-large", "--dest", str(tmp_path / "proven"))
    done = run(*argv, environment=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "proven" / redirecting.wheel).read_bytes() == redirecting.content
    done = VerifyingClient(tmp_path / "home")("download", *repository, "stack-large", "--dest", str(tmp_path / "none"))
    assert done.returncode != 0
    assert "certificate" in done.stderr.lower()
    assert [path for path in (tmp_path / "none").rglob("*") if path.is_file()] == []


@pytest.mark.timeout(400)
def test_an_end_and_a_second_start_lose_nothing(stack_data: Path) -> None:
    """Ctrl-C ends all of it with 0; the next start on the folder has the file, the token and the same ports."""
    first = start_stack(stack_data)
    try:
        family, api = first.process.family(), first.api
        assert len(family) > 20
        wheel, content = wheel_name("stack-kept", "1.0"), make_wheel("stack-kept", "1.0")
        assert upload(first, wheel, content).status_code == 200
        token = first.token_document()
        second = run(first.process.argv[0], "-m", "deploy.stack", "--data", str(stack_data), "--api-port", "0")
        assert (second.returncode, second.stdout) == (1, "")
        assert f"already runs on {stack_data}" in second.stderr
        first.process.press_ctrl_c()
        assert first.process.wait(60) == 0
        assert until_gone(family, 1) == set()
    finally:
        first.process.end()
    again = start_stack(stack_data)
    try:
        assert again.api == api
        assert again.owner_link is None
        page = again.get("/root/stable/+simple/stack-kept/")
        assert (page.status_code, wheel in page.text) == (200, True)
        assert str(token["id"]) in again.command("token", "list").stdout
        family = again.process.family()
        # A kill loses nothing either, and leaves nothing running.
        again.process.send(signal.SIGKILL)
        again.process.wait()
        assert until_gone(family, 60) == set()
    finally:
        again.process.end()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (
            ("--set", "downloads.redirekt=true"),
            2,
            "unknown setting downloads.redirekt (did you mean downloads.redirect?)",
        ),
        (("--set", "database.url=x"), 2, "the stack decides that itself"),
        (("--set", "staleness"), 2, "write it as key=value"),
        (("--api-port", "99999"), 2, "listen.api_port"),
    ],
)
def test_a_mistake_is_one_line_and_starts_nothing(
    stack_data: Path, options: tuple[str, ...], code: int, words: str
) -> None:
    """Wrong settings are told before anything is made."""
    done = run(sys.executable, "-m", "deploy.stack", "--data", str(stack_data), *options)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, words in line) == (code, True), line
    assert not stack_data.exists()


def test_missing_programs_are_named(stack_data: Path) -> None:
    """Where they cannot be installed, one line says which packages hold them, and nothing is made."""
    argv = (sys.executable, "-m", "deploy.stack", "--data", str(stack_data))
    done = run(*argv, environment={"PATH": str(stack_data)})
    (line,) = done.stderr.splitlines()
    assert (done.returncode, "redis-server" in line, "then try again" in line) == (1, True, True), line
    assert not stack_data.exists()


def test_a_folder_of_the_embedded_profile_is_refused(stack_data: Path) -> None:
    """The two profiles do not share a data folder, in either direction."""
    stack_data.mkdir()
    (stack_data / "COUNTERMARK").write_text("Data folder of Countermark, layout 1\n")
    done = run(sys.executable, "-m", "deploy.stack", "--data", str(stack_data))
    assert (done.returncode, "choose another with DATA=" in done.stderr) == (1, True)
    (stack_data / "COUNTERMARK").rename(stack_data / "COUNTERMARK-STACK")
    done = server_command("up", "--data", str(stack_data))
    assert (done.returncode, "choose another with DATA=" in done.stderr) == (1, True)
    assert [path.name for path in stack_data.iterdir()] == ["COUNTERMARK-STACK"]
