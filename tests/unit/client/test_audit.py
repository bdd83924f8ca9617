"""`countermark audit verify`: an export against the head that the registry signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from countermark.core.audit import (
    GENESIS,
    HEAD_TARGET,
    AuditHead,
    AuditRow,
    ChainBroken,
    Link,
    MalformedAudit,
    hash_of,
    verify_export,
)
from countermark.core.names import InvalidName, parse_index_name, parse_target_path
from tests.support.simulator import RepositorySimulator
from tests.unit.client.conftest import Run, pin_root

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)


def rows(count: int) -> list[Link]:
    """Return a chain."""
    links: list[Link] = []
    previous = GENESIS
    for position in range(1, count + 1):
        row = AuditRow(position + 10, AT, "192.0.2.7", "ann", "token.create", f"token {position}", {"n": position})
        links.append(Link(position, previous, row, hash_of(previous, position, row)))
        previous = links[-1].sha256
    return links


def head_of(link: Link, index: str = "root/stable") -> AuditHead:
    """Return the head of a chain that ends with a link."""
    return AuditHead(parse_index_name(index), link.position, link.sha256, AT)


def write(path: Path, links: list[Link]) -> Path:
    """Write an export."""
    path.write_bytes(b"".join(link.to_line() for link in links))
    return path


@pytest.fixture
def links() -> list[Link]:
    """Nine rows; the head is published at the seventh."""
    return rows(9)


@pytest.fixture
def tree(sim: RepositorySimulator, links: list[Link], run: Run, tmp_path: Path) -> Path:
    """A registry that publishes the head, whose root is pinned."""
    sim.targets[HEAD_TARGET] = head_of(links[6]).to_bytes()
    sim.publish()
    tree = sim.write_tree(tmp_path / "data")
    pin_root(run, tree, tmp_path)
    return tree


@pytest.mark.parametrize("start", [0, 3, 6])
def test_an_honest_export_is_proven(run: Run, tree: Path, links: list[Link], tmp_path: Path, start: int) -> None:
    """Whole or from any position up to the head's; rows after the head are said to wait."""
    done = run("audit", "verify", write(tmp_path / "audit.jsonl", links[start:]), "--repository", tree)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"proven: positions {start + 1} to 7, signed 2026-11-01T12:00:00+00:00\n"
    assert "2 later rows are chained and wait for the next head" in done.stderr


def test_json_says_the_same(run: Run, tree: Path, links: list[Link], tmp_path: Path) -> None:
    """The last object has the positions."""
    done = run("audit", "verify", write(tmp_path / "audit.jsonl", links), "--repository", tree, "--json")
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["first"], last["proven"], last["last"], last["exit"]) == (1, 7, 9, 0)


def forged(links: list[Link]) -> list[Link]:
    """Return the chain with its third row altered and everything after it hashed anew."""
    made, previous = links[:2], links[1].sha256
    for link in links[2:]:
        row = replace(link.row, actor="mallory") if link.position == 3 else link.row
        made.append(Link(link.position, previous, row, hash_of(previous, link.position, row)))
        previous = made[-1].sha256
    return made


TAMPERING: dict[str, tuple[Callable[[list[Link]], list[Link]], str]] = {
    "altered": (
        lambda links: [*links[:2], replace(links[2], row=links[3].row), *links[3:]],
        "position 3: audit row 14",
    ),
    "dropped": (lambda links: links[:2] + links[3:], "position 3: it is missing"),
    "moved": (lambda links: [links[0], links[2], links[1], *links[3:]], "position 2: it is missing"),
    "hashed anew": (forged, "position 7: the head of 2026-11-01T12:00:00.000000Z was published with hash"),
    "too short": (lambda links: links[:6], "position 7: it is not in the export"),
    "too late": (lambda links: links[7:], "position 7: it is not in the export"),
    "empty": (lambda links: [], "it holds no row"),
}


@pytest.mark.parametrize("how", TAMPERING)
def test_another_history_than_the_published_one_is_refused(
    run: Run, tree: Path, links: list[Link], tmp_path: Path, how: str
) -> None:
    """Exit 1, the first position that does not hold, and what differs."""
    change, words = TAMPERING[how]
    done = run("audit", "verify", write(tmp_path / "audit.jsonl", change(links)), "--repository", tree)
    assert done.exit_code == 1
    assert words in done.stderr
    assert done.stdout == ""


def test_a_line_that_cannot_be_hashed_is_no_row() -> None:
    """Half a letter, and an object as deep as can just be read, end in words as every other damage does."""
    (link,) = rows(1)
    for detail in ('"\\ud800"', *("[" * depth + "]" * depth for depth in range(800, 1000))):
        line = link.to_line().replace(b'"detail":{"n":1}', b'"detail":{"n":' + detail.encode() + b"}")
        with pytest.raises((MalformedAudit, ChainBroken)):
            verify_export([line], [head_of(link)])


def test_a_head_that_was_kept_is_held_against_the_export(
    run: Run, tree: Path, sim: RepositorySimulator, links: list[Link], tmp_path: Path
) -> None:
    """A registry that rewrote its history and signed a new head is found by who kept an older one."""
    kept = tmp_path / "kept.json"
    kept.write_bytes(head_of(links[4]).to_bytes())
    export = write(tmp_path / "audit.jsonl", links)
    assert run("audit", "verify", export, "--repository", tree, "--head", kept).exit_code == 0
    rewritten = forged(links)
    sim.targets[HEAD_TARGET] = head_of(rewritten[8]).to_bytes()
    sim.publish()
    sim.write_tree(tmp_path / "data")
    export = write(tmp_path / "rewritten.jsonl", rewritten)
    assert run("audit", "verify", export, "--repository", tree).exit_code == 0, "it agrees with itself"
    done = run("audit", "verify", export, "--repository", tree, "--head", kept)
    assert done.exit_code == 1
    assert "position 5: the head of" in done.stderr


def test_the_head_of_another_index_is_refused(
    run: Run, sim: RepositorySimulator, tree: Path, links: list[Link], tmp_path: Path
) -> None:
    """Indexes share their keys, so the head names its own (exit 31)."""
    sim.targets[HEAD_TARGET] = head_of(links[6], "root/other").to_bytes()
    sim.publish()
    sim.write_tree(tmp_path / "data")
    done = run("audit", "verify", write(tmp_path / "audit.jsonl", links), "--repository", tree)
    assert done.exit_code == 31
    assert "is signed as that of root/other" in done.stderr


def test_an_index_without_a_head_is_told(run: Run, sim: RepositorySimulator, links: list[Link], tmp_path: Path) -> None:
    """Exit 11, and which index to name instead."""
    tree = sim.write_tree(tmp_path / "data")
    pin_root(run, tree, tmp_path)
    done = run("audit", "verify", write(tmp_path / "audit.jsonl", links), "--repository", tree)
    assert done.exit_code == 11
    assert "default index" in done.stderr


def test_a_head_of_another_form_is_refused(
    run: Run, sim: RepositorySimulator, tree: Path, links: list[Link], tmp_path: Path
) -> None:
    """Exit 30, as any signed document that cannot be read."""
    sim.targets[HEAD_TARGET] = b'{"schema":"other"}'
    sim.publish()
    sim.write_tree(tmp_path / "data")
    done = run("audit", "verify", write(tmp_path / "audit.jsonl", links), "--repository", tree)
    assert done.exit_code == 30


LINES = {
    "no JSON": b"{\n",
    "another object": b"{}\n",
    "a list": b"[]\n",
    "a key twice": b'{"actor":1,"actor":2}\n',
    "not finite": b'{"detail":NaN}\n',
    "deep": b"[" * 100_000 + b"\n",
    "long": b" " * (4 << 20) + b"{}\n",
    "bytes": b"\xff\xfe\n",
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_cannot_be_read_is_told(run: Run, tree: Path, links: list[Link], tmp_path: Path, line: str) -> None:
    """Its number, and exit 1."""
    path = write(tmp_path / "audit.jsonl", links[:1])
    path.write_bytes(path.read_bytes() + LINES[line])
    done = run("audit", "verify", path, "--repository", tree)
    assert done.exit_code == 1
    assert "line 2: " in done.stderr


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoding", "countermark-audit/v2"),
        ("position", 0),
        ("position", True),
        ("id", "7"),
        ("at", "2026-11-01T12:00:00Z"),
        ("at", "2026-13-01T12:00:00.000000Z"),
        ("source", 7),
        ("detail", []),
        ("hash", "sha256:" + "a" * 64),
        ("previous", "A" * 64),
        ("subject", "\ud800"),
    ],
)
def test_a_field_of_another_form_is_told(
    run: Run, tree: Path, links: list[Link], tmp_path: Path, field: str, value: object
) -> None:
    """Nothing is guessed of a line that this version does not write."""
    path = tmp_path / "audit.jsonl"
    document = json.loads(links[0].to_line())
    document[field] = value
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")
    done = run("audit", "verify", path, "--repository", tree)
    assert done.exit_code == 1
    assert "line 1: " in done.stderr


def test_a_file_that_is_not_there_is_wrong_use(run: Run, tree: Path, tmp_path: Path) -> None:
    """Exit 2 for the export, 70 for a kept head."""
    assert run("audit", "verify", tmp_path / "no.jsonl", "--repository", tree).exit_code == 2
    export = write(tmp_path / "audit.jsonl", rows(1))
    done = run("audit", "verify", export, "--repository", tree, "--head", tmp_path / "no.json")
    assert done.exit_code == 70


@pytest.mark.parametrize("project", ["countermark--other", "a--b"])
def test_no_other_target_has_two_hyphens_in_its_project(project: str) -> None:
    """Only the deployment's own segments may."""
    with pytest.raises(InvalidName, match="no project's name"):
        parse_target_path(f"pointers/{project}/head.json")
    assert parse_target_path("pointers/countermark--log/head.json")
