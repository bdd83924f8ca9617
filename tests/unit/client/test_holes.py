"""The holes around the TUF library, through the whole client over a real socket: every kind of file, cut and dripping.

Source: trust contract section 1.3, holes (a), (b), (d), (e), (f); section 6 rows 7 and 29.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadHTTPError

from countermark.core.errors import NetworkFailure
from countermark.location import parse_location
from countermark.roots import walk_roots
from countermark.transport import Limits, Transport
from tests.support.mounts import tmpfs
from tests.support.simulator import RepositorySimulator
from tests.unit.client.conftest import WHEEL, WHEEL_TARGET, Client
from tests.unit.client.loopback import Answer, Loopback, reply

HASTY = Limits(
    connect=timedelta(seconds=2),
    read=timedelta(seconds=2),
    metadata_total=timedelta(seconds=0.3),
    grace=timedelta(seconds=0.3),
    attempts=1,
)

KINDS: dict[str, Callable[[RepositorySimulator], str]] = {
    "the next root": lambda sim: sim.key("metadata/2.root.json"),
    "timestamp": lambda sim: sim.key("metadata/timestamp.json"),
    "snapshot": lambda sim: sim.key("metadata/1.snapshot.json"),
    "targets": lambda sim: sim.key("metadata/1.targets.json"),
    "registry": lambda sim: sim.key("metadata/1.registry.json"),
    "a bin": lambda sim: sim.bin_key(WHEEL_TARGET),
    "the page": lambda sim: sim.target_key("pointers/widget/_simple.json"),
    "the pointer": lambda sim: sim.target_key(WHEEL_TARGET),
    "the artifact": lambda sim: sim.pointers[WHEEL].file.uri[1:],
}


def _drips(handler: BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while True:
            handler.wfile.write(b" ")
            time.sleep(0.05)


def _cut(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b'{"signed": ')
    handler.close_connection = True


@pytest.mark.parametrize("answer", [_drips, _cut])
@pytest.mark.parametrize("kind", KINDS)
def test_row_7_every_kind_of_file_cut_or_dripping_ends_10(
    kind: str, answer: Answer, sim: RepositorySimulator, server: Loopback, client: Client
) -> None:
    """Whichever file is cut or drips, the run ends 10 within its deadline, and its cache serves the next run."""
    client.location = parse_location(server.serve_tree(sim))
    client.pin(sim.deployment.roots[0])
    path = f"/{KINDS[kind](sim)}"
    honest = server.paths.get(path)
    server.paths[path] = answer
    begun = time.monotonic()
    with Transport(HASTY) as client.source:
        outcome = client.get()
    assert outcome.code == 10, outcome.words
    assert time.monotonic() - begun < 4
    assert client.left_behind() == []
    server.paths.pop(path)
    if honest is not None:
        server.paths[path] = honest
    with Transport() as client.source:
        assert client.get().code == 0


def _refused(key: str, status: int) -> Callable[[], Iterator[bytes]]:
    def answer() -> Iterator[bytes]:
        raise DownloadHTTPError(f"HTTP {status} for {key}", status)
        yield b""

    return answer


def test_a_withheld_root_is_not_taken_for_the_newest(sim: RepositorySimulator, client: Client) -> None:
    """403 for the next root, where absent files are 404, ends 10: the next root is there and may not be read."""
    key = sim.key("metadata/2.root.json")
    sim.answers[key] = _refused(key, 403)
    outcome = client.get()
    assert outcome.code == 10
    assert "withheld" in outcome.words
    with pytest.raises(NetworkFailure, match="withheld"):
        walk_roots(sim.location, sim)


def test_a_bucket_without_listing_rights_is_read(sim: RepositorySimulator, client: Client) -> None:
    """403 for the next root, where absent files are 403 too, is the end of the chain; one request tells."""
    for name in ("2.root.json", "4294967295.root.json"):
        key = sim.key(f"metadata/{name}")
        sim.answers[key] = _refused(key, 403)
    assert client.get().code == 0
    assert len([key for key in sim.requests if key.endswith("4294967295.root.json")]) == 1
    assert len(walk_roots(sim.location, sim)) == 1


def test_an_honest_end_of_the_chain_costs_no_further_request(sim: RepositorySimulator, client: Client) -> None:
    """404 for the next root is believed at once."""
    assert client.get().code == 0
    assert [key.rpartition("/")[2] for key in sim.requests if key.endswith(".root.json")] == ["2.root.json"]


@pytest.mark.parametrize("role", ["timestamp", "snapshot"])
def test_a_key_rotated_in_the_middle_of_a_run_goes_unnoticed(
    role: str, sim: RepositorySimulator, client: Client
) -> None:
    """A client that has just seen the old root and gets what the new key signed starts over, once, and ends 0."""
    key = sim.key("metadata/timestamp.json")

    def rotated() -> Iterator[bytes]:
        del sim.answers[key]
        sim.deployment.rotate(role)
        sim.publish()
        yield sim.objects[key]

    sim.answers[key] = rotated
    outcome = client.get()
    assert outcome.code == 0, outcome.words
    assert sum(request == key for request in sim.requests) == 2


def test_starting_over_happens_once(sim: RepositorySimulator, client: Client) -> None:
    """A repository that rotates at each look is refused at the second."""
    key = sim.key("metadata/timestamp.json")

    def rotated() -> Iterator[bytes]:
        sim.deployment.rotate("timestamp")
        sim.publish()
        yield sim.objects[key]

    sim.answers[key] = rotated
    assert client.get().code == 20
    assert sum(request == key for request in sim.requests) == 2


def _get(client: Client, code: multiprocessing.Queue[tuple[int, str]]) -> None:
    with Transport() as client.source:
        outcome = client.get()
    code.put((outcome.code, outcome.words))


def test_row_29_eight_processes_on_one_cache(sim: RepositorySimulator, server: Loopback, client: Client) -> None:
    """Eight processes that begin at once on an empty cache, with roots to walk, all end 0."""
    for _ in range(3):
        sim.deployment.rotate("timestamp", "snapshot")
    sim.publish()
    client.location = parse_location(server.serve_tree(sim))
    client.pin(sim.deployment.roots[0])
    forked = multiprocessing.get_context("fork")
    codes: multiprocessing.Queue[tuple[int, str]] = forked.Queue()
    running = [forked.Process(target=_get, args=(client, codes)) for _ in range(8)]
    for process in running:
        process.start()
    ends = [codes.get(timeout=30) for _ in running]
    for process in running:
        process.join(10)
    assert ends == [(0, "")] * 8
    assert client.left_behind() == [WHEEL]


@pytest.mark.parametrize("damage", [b"", b"{", b"[" * 100_000, b'{"signatures": [], "signed": {"_type": "timestamp"}}'])
def test_row_29_a_wholly_damaged_cache_heals(damage: bytes, sim: RepositorySimulator, client: Client) -> None:
    """Every file of the cache damaged, the history of roots too: the run ends 0 and leaves them whole."""
    sim.deployment.rotate("timestamp")
    sim.publish()
    assert client.get().code == 0
    files = {path: path.read_bytes() for path in (client.home / "cache").rglob("*.json") if not path.is_symlink()}
    assert {"2.root.json", "timestamp.json", "registry.json"} <= {path.name for path in files}
    for path in files:
        path.write_bytes(damage)
    outcome = client.get()
    assert outcome.code == 0, outcome.words
    assert {path: path.read_bytes() for path in files} == files


def test_row_29_a_cache_that_became_read_only_ends_70(client: Client, tmp_path: Path) -> None:
    """On a file system that turned read-only the run ends 70, names the folder, and places nothing."""
    with tmpfs(tmp_path / "home" / "cache", "1m") as mounted:
        assert client.get().code == 0
        (client.dest / WHEEL).unlink()
        mounted.make_read_only()
        outcome = client.get()
        assert outcome.code == 70
        assert str(client.home / "cache") in outcome.words
        assert client.left_behind() == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_private_index_says_what_to_set(
    status: int, sim: RepositorySimulator, server: Loopback, client: Client
) -> None:
    """Where everything is refused, the run ends 10 and asks for a token."""
    url = server.serve_tree(sim)
    for path in server.paths:
        server.paths[path] = lambda handler: reply(handler, status)
    for number in (2, 4294967295):
        server.paths[f"/{sim.key(f'metadata/{number}.root.json')}"] = lambda handler: reply(handler, status)
    client.location = parse_location(url)
    client.pin(sim.deployment.roots[0])
    with Transport() as client.source:
        outcome = client.get()
    assert outcome.code == 10
    assert "COUNTERMARK_TOKEN" in outcome.words
