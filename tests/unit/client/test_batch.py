"""Several downloads at once: what is placed, what is reported, which digests and versions are taken."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from countermark.core.digest import sha256_of
from tests.support.simulator import RepositorySimulator
from tests.unit.client.conftest import WHEEL, Run, pin_root
from tests.unit.client.loopback import Answer, Loopback, reply

GIZMO, NEWER = "gizmo-2.0-py3-none-any.whl", "widget-1.11-py3-none-any.whl"


@pytest.fixture
def several(sim: RepositorySimulator) -> RepositorySimulator:
    """An index with two projects, and two releases of the first."""
    sim.add_file(NEWER, b"a newer wheel\n")
    sim.add_file("widget-2.0rc1-py3-none-any.whl", b"not yet\n")
    sim.add_file(GIZMO, b"the gizmo\n")
    sim.publish()
    return sim


def test_several_names_share_one_refresh(
    run: Run, several: RepositorySimulator, server: Loopback, tmp_path: Path
) -> None:
    """All files are placed and printed in the order of the names; the timestamp is read once."""
    url = server.serve_index(several)
    done = run("download", "gizmo", "widget==1.10", "--repository", url, "--dest", tmp_path, "--trust-on-first-use")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / GIZMO), str(tmp_path / WHEEL)]
    assert [path for path, _ in server.seen].count("/root/stable/+tuf/metadata/timestamp.json") == 1


def test_one_failure_does_not_end_the_others(
    run: Run, several: RepositorySimulator, server: Loopback, tmp_path: Path
) -> None:
    """What can be proven is placed; each failure is reported with what it is about; the worst code is the exit code."""
    several.objects[several.pointers[GIZMO].file.uri[1:]] = b"evil gizm\n"
    url = server.serve_index(several)
    arguments = ("gizmo", "missing", "widget==1.10", "--repository", url, "--dest", tmp_path, "--trust-on-first-use")
    done = run("download", *arguments, "--json")
    assert done.exit_code == 41
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    failed = {line["for"]: line["exit"] for line in lines if not line["ok"] and "for" in line}
    assert failed == {"missing": 11, GIZMO: 41}
    assert lines[-1] == {"step": "done", "ok": False, "exit": 41, "proven": 1, "failed": 2}
    assert [path.name for path in tmp_path.glob("*.whl")] == [WHEEL]
    assert list(tmp_path.glob(".countermark-*")) == []
    plain = run("download", *arguments)
    assert "1 file(s) proven, 2 failed [exit 41]" in plain.stderr
    assert plain.stdout == f"{tmp_path / WHEEL}\n"


def test_files_travel_side_by_side_and_no_more_than_allowed(
    run: Run, sim: RepositorySimulator, server: Loopback, tmp_path: Path
) -> None:
    """With two workers two files are on their way at once, and never three."""
    for number in range(6):
        sim.add_file(f"part{number}-1-py3-none-any.whl", b"bytes of %d\n" % number)
    sim.publish()
    url = server.serve_index(sim)
    lock, met, state = threading.Lock(), threading.Barrier(2), {"now": 0, "most": 0}

    def answering(data: bytes) -> Answer:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            with lock:
                state["now"] += 1
                state["most"] = max(state["most"], state["now"])
            met.wait(20)
            with lock:
                state["now"] -= 1
            reply(handler, 200, data)

        return answer

    for path, data in list(server.paths.items()):
        if "/+tuf/files/" in path and "part" in path and isinstance(data, bytes):
            server.paths[path] = answering(data)
    names = [f"part{number}" for number in range(6)]
    done = run(
        "download", *names, "--workers", "2", "--repository", url, "--dest", tmp_path, "--trust-on-first-use"
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert state["most"] == 2
    assert done.stdout.count("\n") == 6


def test_ranges_take_the_newest_release_that_fits(run: Run, several: RepositorySimulator, tmp_path: Path) -> None:
    """A range takes its newest final release, a pre-release only where it asks for one; an empty one ends 11."""
    tree = several.write_tree(tmp_path / "data")
    pin_root(run, tree, tmp_path)
    for wanted, name in (
        ("widget>=1", NEWER), ("widget<1.11", WHEEL), ("widget~=1.10.0", WHEEL), ("widget>=2rc1", "widget-2.0rc1"),
    ):  # fmt: skip
        done = run("download", wanted, "--repository", tree, "--dest", tmp_path / "dest")
        assert done.exit_code == 0, done.stderr
        assert name in done.stdout
    missed = run("download", "widget>3", "--repository", tree)
    assert missed.exit_code == 11
    assert "1.11" in missed.stderr


def test_digests_of_a_requirements_file_must_match(run: Run, several: RepositorySimulator, tmp_path: Path) -> None:
    """The right digest passes; a wrong one ends 31 and places nothing, although the index signed the file."""
    tree = several.write_tree(tmp_path / "data")
    pin_root(run, tree, tmp_path)
    good, bad = sha256_of(b"the real wheel\n"), "0" * 64
    listed = tmp_path / "requirements.txt"
    listed.write_text(f"widget==1.10 --hash=sha256:{bad} --hash=sha256:{good}\n")
    done = run("download", "-r", listed, "--repository", tree, "--dest", tmp_path / "dest")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'dest' / WHEEL}\n")
    for text in ("widget==1.10", "widget", "widget>=1"):
        listed.write_text(f"{text} --hash=sha256:{bad}\n")
        done = run("download", "-r", listed, "--repository", tree, "--dest", tmp_path / "none")
        assert done.exit_code == 31, done.stderr
        assert not (tmp_path / "none").exists()
    listed.write_text(f"widget==1.10 --hash=sha256:{bad}\n")
    named = run("download", "-r", listed, "--all", "--repository", tree, "--dest", tmp_path / "none")
    assert named.exit_code == 31


@pytest.mark.parametrize(
    "arguments",
    [(), ("--file", WHEEL), ("a", "b", "--file", WHEEL), ("-r", "/missing"), ("a", "--workers", "0")],
)
def test_batches_that_cannot_be_meant_end_2(arguments: tuple[str, ...], run: Run, tree: Path) -> None:
    """Nothing named, a file name for several projects, a missing list: usage, before anything is read."""
    done = run("download", *arguments, "--repository", tree)
    assert (done.exit_code, done.stdout) == (2, "")


def test_nothing_left_after_markers_is_fine(run: Run, tree: Path, tmp_path: Path) -> None:
    """A list whose every line is excluded by its marker proves nothing and ends 0."""
    pin_root(run, tree, tmp_path)
    done = run("download", 'widget; python_version < "3"', "--repository", tree, "--dest", tmp_path / "dest")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "left out" in done.stderr
