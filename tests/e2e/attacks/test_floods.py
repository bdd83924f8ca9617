"""Rows 6 and 7: data without end, and data that never comes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from countermark.core.pointer import Resource, parse_pointer
from tests.e2e.attacks.conftest import Scene, Site, open_scene
from tests.e2e.attacks.names import WHEEL, WIDGET
from tests.support.tampering.answers import bomb, dripping, endless
from tests.support.tampering.table import Case, attacks
from tests.support.tampering.victim import Ended

pytestmark = pytest.mark.embedded

_MOST = 100_000_000
"""Bytes of memory. Source: trust contract section 6, row 6."""

_DEADLINE = 4
"""Seconds the client is given in row 7; that more are kept to as well is for the transport's own tests."""

_METADATA = ("root", "timestamp", "snapshot", "targets", "registry", "bin")
_TARGETS = ("page", "pointer", "latest")
_KINDS = (*_METADATA, *_TARGETS, "artifact", "attestation", "bases")


def _ask(kind: str) -> tuple[str, ...]:
    """Return what to ask for so that a file of this kind is read."""
    return ("widget",) if kind == "latest" else ("widget==1.10",)


def _attest(scene: Scene) -> None:
    """Sign a pointer that names an attestation; its bytes are not to be had."""
    pointer = parse_pointer(scene.forger.target(WIDGET))
    uri = pointer.file.uri.rpartition("/")[0] + f"/{WHEEL}.sigstore.json"
    named = type(pointer)(
        pointer.name,
        pointer.version,
        pointer.index,
        pointer.file,
        Resource(uri, pointer.file.digest, pointer.file.length),
    )
    scene.forger.publish({WIDGET: named.to_bytes()})


@attacks(
    6,
    Case("timestamp: a body without end", 23, "metadata: ", ("timestamp", endless)),
    Case("timestamp: a gzip bomb", 23, "metadata: ", ("timestamp", bomb)),
    Case("bin: a body without end", 23, "metadata: ", ("bin", endless)),
    Case("pointer: a gzip bomb", 23, "metadata: ", ("pointer", bomb)),
    Case("artifact: a body without end", 40, "is longer than", ("artifact", endless)),
)
def test_row_06_memory(case: Case, scene: Scene) -> None:
    """A body without end is given up at its cap, in less than 100 MB of memory, imports and all."""
    kind, answer = case.given
    scene.server.on(scene.path(kind), answer)
    ended = scene.client.run_measured(*_ask(kind))
    scene.ends(case, ended)
    scene.record("peak", ended.peak)
    assert 0 < ended.peak < _MOST


@attacks(
    6,
    *(
        Case(f"{kind}: a body without end", 23, "metadata: ", (kind, endless))
        for kind in (*_METADATA, *_TARGETS)
        if kind not in {"timestamp", "bin"}
    ),
    Case("bin: a gzip bomb", 23, "metadata: ", ("bin", bomb)),
    Case("artifact: a gzip bomb", 40, "is longer than", ("artifact", bomb)),
    Case("attestation: a body without end", 50, "is longer than", ("attestation", endless)),
    Case("the index's own document (its bases): a body without end", 10, "bases: ", ("bases", endless)),
)
def test_row_06_endless_data(case: Case, scene: Scene) -> None:
    """Of each kind of file the client reads no more than it may have."""
    kind, answer = case.given
    if kind == "attestation":
        _attest(scene)
    scene.server.on(scene.path(kind), answer)
    scene.ends(case, scene.client.get(*_ask(kind)))


def _slow(site: Site, home: Path, kind: str) -> tuple[Ended, float]:
    """Download where one kind of file drips; return how it ended and after how many seconds."""
    with open_scene(site, home, lambda _name, _value: None) as scene:
        if kind == "attestation":
            _attest(scene)
        scene.server.on(scene.path(kind), dripping(0.5))
        scene.client.deadline = _DEADLINE
        began = time.monotonic()
        return scene.client.run(*_ask(kind)), time.monotonic() - began


@pytest.fixture(scope="module")
def dripping_runs(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[tuple[Ended, float]]]]:
    """A run for each kind of file, side by side: they do nothing but wait."""
    folder = tmp_path_factory.mktemp("dripping")
    with ThreadPoolExecutor(4) as pool:
        yield {kind: pool.submit(_slow, site, folder / kind, kind) for kind in _KINDS}


@attacks(
    7,
    *(Case(f"{kind}: one byte each half second", 10, "network: ", kind) for kind in _KINDS if kind != "bases"),
    Case("the index's own document (its bases): one byte each half second", 10, "bases: ", "bases"),
)
def test_row_07_slow_retrieval(
    case: Case, scene: Scene, dripping_runs: Mapping[str, Future[tuple[Ended, float]]]
) -> None:
    """What drips is given up at the deadline, though no gap between two bytes is long."""
    ended, seconds = dripping_runs[case.given].result()
    scene.ends(case, ended)
    # The deadline of the metadata and that of the file; the rest is the start of Python on a busy machine.
    assert seconds < 2 * _DEADLINE + 20
