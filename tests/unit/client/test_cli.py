"""The command line: exit codes, streams, and one real process."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from countermark.core import errors
from tests.support.simulator import RepositorySimulator
from tests.unit.client.archives import wheel
from tests.unit.client.conftest import WHEEL, Run, pin_root
from tests.unit.client.loopback import reply, serving


def test_fetch_pin_download_verify(run: Run, tree: Path, tmp_path: Path) -> None:
    """The tour of a new user over a folder: fetch the root, pin it, download, verify; stdout is the path alone."""
    pin_root(run, tree, tmp_path)
    downloaded = run("download", "Widget==1.10", "--repository", tree, "--dest", tmp_path / "dest")
    assert downloaded.exit_code == 0, downloaded.stderr
    assert downloaded.stdout == f"{tmp_path / 'dest' / WHEEL}\n"
    assert "proven" in downloaded.stderr
    verified = run("verify", tmp_path / "dest" / WHEEL, COUNTERMARK_REPOSITORY=str(tree / "simple"))
    assert verified.exit_code == 0, verified.stderr


def test_over_http_as_index_and_as_tree(run: Run, sim: RepositorySimulator, tmp_path: Path) -> None:
    """The same index is read through the registry's `+tuf` face and from a plain file server."""
    with serving() as server:
        for url in (server.serve_index(sim), server.serve_tree(sim)):
            result = run("download", "widget", "--repository", url, "--dest", tmp_path, "--trust-on-first-use")
            assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("how", ["file", "http"])
def test_attacks_end_with_their_codes(how: str, run: Run, sim: RepositorySimulator, tmp_path: Path) -> None:
    """Through a folder and through a server, tampering ends with the code of the table and places nothing."""
    artifact = sim.pointers[WHEEL].file.uri[1:]
    tampered: list[tuple[str, bytes | None, int]] = [
        (artifact, b"the evil wheel\n", 41),
        (artifact, b"short", 40),
        (artifact, None, 10),
        (sim.target_key(f"pointers/widget/{WHEEL}.pointer"), b"pointer:\n", 23),
        (sim.key("metadata/timestamp.json"), b"{}", 23),
        (sim.key("metadata/timestamp.json"), None, 10),
    ]
    with serving() as server:
        for number, (key, data, code) in enumerate(tampered):
            kept = dict(sim.objects)
            sim.objects.pop(key)
            if data is not None:
                sim.objects[key] = data
            server.paths.clear()
            url = server.serve_index(sim) if how == "http" else str(sim.write_tree(tmp_path / str(number)))
            sim.objects = kept
            dest = tmp_path / "dest" / str(number)
            result = run("download", "widget", "--repository", url, "--dest", dest, "--trust-on-first-use")
            assert result.exit_code == code, (key, result.stderr)
            assert result.stdout == ""
            assert not dest.exists() or list(dest.iterdir()) == []


def test_json_is_one_object_per_step(run: Run, tree: Path, tmp_path: Path) -> None:
    """With --json each line of stdout is an object; a failure is the last one, with its exit code and remedy."""
    pin_root(run, tree, tmp_path)
    good = run("download", "widget", "--repository", tree, "--dest", tmp_path, "--json")
    steps = [json.loads(line) for line in good.stdout.splitlines()]
    assert [step["step"] for step in steps] == [
        "root", "timestamp", "snapshot", "latest", "target", "pointer", "artifact", "policy", "place", "done",
    ]  # fmt: skip
    numbered = [(step["number"], step["name"], step["result"]) for step in steps if "number" in step]
    assert numbered == [
        (1, "TUF root", "passed"), (2, "TUF timestamp", "passed"), (3, "TUF snapshot", "passed"),
        (4, "TUF target", "passed"), (5, "pointer", "passed"), (6, "digest", "passed"), (13, "policy", "passed"),
    ]  # fmt: skip
    assert steps[-2]["path"] == str(tmp_path / WHEEL)
    bad = run("download", "gizmo", "--repository", tree, "--json")
    last = json.loads(bad.stdout.splitlines()[-1])
    assert (last["ok"], last["exit"], last["error"]) == (False, 11, "NoSuchTarget")
    assert (last["number"], last["name"], last["result"]) == (4, "TUF target", "failed")
    assert last["remedy"]


def test_policy_none_ends_3(run: Run, tree: Path, tmp_path: Path) -> None:
    """--policy none places the file after the digest and ends 3."""
    pin_root(run, tree, tmp_path)
    result = run("download", "widget", "--repository", tree, "--dest", tmp_path, "--policy", "none")
    assert result.exit_code == errors.INTEGRITY_ONLY
    assert (tmp_path / WHEEL).exists()
    assert "integrity only" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("download", "widget"),
        ("download", "widget", "--repository", "https://host"),
        ("download", "widget==one", "--repository", "/x/indexes/root/stable"),
        ("download", "-", "--repository", "/x/indexes/root/stable"),
        ("download", "widget", "--all", "--file", WHEEL, "--repository", "/x/indexes/root/stable"),
        ("download", "widget", "--repository", "/x/indexes/root/stable"),
        ("download", "widget", "--repository", "/x/indexes/root/stable", "--root", "/missing"),
        ("root", "pin", "/x/indexes/root/stable", "neither-file-nor-digest"),
        ("build", ".", "--index", "nonsense"),
        ("upload", "a.pointer", "--index", "http://127.0.0.1/root/stable"),
        ("upload", "notes.txt", "--index", "http://127.0.0.1/root/stable"),
        ("nonsense",),
    ],
)
def test_usage_ends_2(arguments: tuple[str, ...], run: Run) -> None:
    """What cannot be meant ends 2, with words on the error stream and nothing on the other."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr


def test_all_files_and_one_by_name(run: Run, sim: RepositorySimulator, tmp_path: Path) -> None:
    """--all takes each file of the release, --file the one that is named."""
    sim.add_file("widget-1.10.tar.gz", b"source\n")
    sim.publish()
    tree = sim.write_tree(tmp_path / "data")
    pin_root(run, tree, tmp_path)
    both = run("download", "widget", "--all", "--repository", tree, "--dest", tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [WHEEL, "widget-1.10.tar.gz"]
    assert len(both.stdout.splitlines()) == 2
    run("download", "widget", "--file", "widget-1.10.tar.gz", "--repository", tree, "--dest", tmp_path / "b")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["widget-1.10.tar.gz"]


def test_root_pin_by_digest(run: Run, sim: RepositorySimulator, tmp_path: Path) -> None:
    """A served root is pinned by its sha256; a digest that no served root has is a fault and pins nothing."""
    sim.deployment.sign_root()
    sim.publish()
    tree = sim.write_tree(tmp_path / "data")
    assert run("root", "pin", tree, "0" * 64).exit_code == 1
    digest = hashlib.sha256(sim.deployment.roots[0]).hexdigest()
    pinned = run("root", "pin", tree, f"sha256:{digest}")
    assert pinned.exit_code == 0, pinned.stderr
    assert digest in pinned.stdout
    assert run("download", "widget", "--repository", tree, "--dest", tmp_path).exit_code == 0


def test_root_fetch_shows_what_to_compare(run: Run, tree: Path, sim: RepositorySimulator) -> None:
    """Keys, thresholds, expiry and sha256 are printed, with the command that pins."""
    shown = run("root", "fetch", tree)
    assert hashlib.sha256(sim.deployment.roots[0]).hexdigest() in shown.stdout
    for key in sim.deployment.keys["root"]:
        assert key.public_key.keyid in shown.stdout
    assert "root: 2 of 3 keys" in shown.stdout
    assert "countermark root pin" in shown.stderr
    as_json = json.loads(run("root", "fetch", tree, "--json").stdout)
    assert as_json["roles"]["timestamp"]["threshold"] == 1


def test_upload_prints_the_answer(run: Run, tmp_path: Path) -> None:
    """The index's answer is printed for each file; a refusal ends 1; pointers beside the files are left out."""
    path = wheel(tmp_path)
    pointer = tmp_path / f"{path.name}.pointer"
    pointer.write_text("")
    with serving() as server:
        status = iter([200, 403])

        def answer(handler):  # type: ignore[no-untyped-def]
            handler.rfile.read(int(handler.headers["content-length"]))
            reply(handler, next(status), b"published as number 7\n")

        server.paths["/root/stable/"] = answer
        arguments = ("upload", path, pointer, "--index", f"{server.url}/root/stable")
        good = run(*arguments, COUNTERMARK_TOKEN="cmk_1abc")
        assert (good.exit_code, good.stdout) == (0, f"200 {path.name}: published as number 7\n")
        bad = run(*arguments, "--token", "cmk_1def")
        assert bad.exit_code == 1
        assert [headers["authorization"] for _, headers in server.seen] == ["Bearer cmk_1abc", "Bearer cmk_1def"]
        assert "cmk_1" not in good.output + bad.output


def test_a_real_process(tree: Path, tmp_path: Path) -> None:
    """`python -m countermark` proves a file end to end with the real streams and exit code."""
    command = [sys.executable, "-m", "countermark", "download", "widget", "--trust-on-first-use"]
    done = subprocess.run(
        [*command, "--repository", tree.as_uri()],
        cwd=tmp_path,
        env={"COUNTERMARK_HOME": str(tmp_path / "home"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{WHEEL}\n"
    assert (tmp_path / WHEEL).read_bytes() == b"the real wheel\n"


def test_exit_codes_are_those_of_the_contract() -> None:
    """The tree of errors covers each failure code of trust contract section 3.3, and has no other."""
    found, waiting = set(), [errors.ClientError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        found.add(kind.exit_code)
        assert kind.__name__ in str(errors.__doc__)
    assert found == {1, 2, 10, 11, 20, 21, 22, 23, 30, 31, 40, 41, 50, 51, 52, 60, 61, 62, 70}


def test_help_names_each_command(run: Run) -> None:
    """The help lists the commands; the version is printed."""
    shown = run("--help").stdout
    assert all(command in shown for command in ("download", "verify", "build", "upload", "root"))
    assert run("--version").stdout.startswith("countermark ")
