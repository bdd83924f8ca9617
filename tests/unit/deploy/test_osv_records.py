"""The records of an OSV snapshot are found wherever they lie, and everything that is read is bounded."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from deploy.errors import UsageError
from deploy.osv.records import Bounds, records
from tests.support.advisories import fixed

ONE, TWO = fixed("A-1", "1.0"), fixed("A-2", "2.0")
SMALL = Bounds(records=3, total_bytes=2_000, record_bytes=1_000)


def read(source: Path, bounds: Bounds = SMALL) -> list[tuple[str, bytes | str]]:
    """Return where each record lies, and its bytes or what is wrong with it."""
    return [(found.where, found.fault or found.document) for found in records(source, bounds)]


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Make a zip."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_zip(tmp_path: Path) -> None:
    """Records of a zip are its members that end with .json, whatever the zip is called."""
    source = zipped(tmp_path / "all", {"A-1.json": ONE, "README": b"words", "more/A-2.json": TWO})
    assert read(source) == [("A-1.json", ONE), ("more/A-2.json", TWO)]


def test_folder(tmp_path: Path) -> None:
    """Records of a folder are its .json files in order, also below; links are not followed."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "A-1.json").write_bytes(ONE)
    (tmp_path / "A-2.json").write_bytes(TWO + b"\n")
    (tmp_path / "A-3.json").symlink_to(tmp_path / "A-2.json")
    (tmp_path / "notes.txt").write_text("words")
    assert read(tmp_path) == [("A-2.json", TWO), ("b/A-1.json", ONE)]


def test_files(tmp_path: Path) -> None:
    """A .json is one record, a .jsonl one in each line that is not empty."""
    (tmp_path / "one.json").write_bytes(ONE)
    (tmp_path / "lines.jsonl").write_bytes(ONE + b"\n\n" + TWO)
    assert read(tmp_path / "one.json") == [("one.json", ONE)]
    assert read(tmp_path / "lines.jsonl") == [("line 1", ONE), ("line 3", TWO)]


def test_large_records(tmp_path: Path) -> None:
    """A record that is too large is a fault of that record alone, and is not read whole."""
    large = b"x" * 5_000
    lines = tmp_path / "lines.jsonl"
    lines.write_bytes(large + b"\n" + ONE)
    (tmp_path / "one.json").write_bytes(large)
    fault = "it is larger than 1000 bytes"
    assert read(lines) == [("line 1", fault), ("line 2", ONE)]
    assert read(tmp_path / "one.json") == [("one.json", fault)]
    assert read(zipped(tmp_path / "z", {"a.json": large, "b.json": ONE})) == [("a.json", fault), ("b.json", ONE)]


def test_damaged_members(tmp_path: Path) -> None:
    """A member that was changed, or is compressed in another way, is a fault of that member alone."""
    source = zipped(tmp_path / "z", {"a.json": ONE, "b.json": TWO}, zipfile.ZIP_STORED)
    source.write_bytes(source.read_bytes().replace(b'"A-1"', b'"A-9"'))
    [(_, fault), good] = read(source)
    assert ("damaged" in str(fault), good) == (True, ("b.json", TWO))
    [(_, fault)] = read(zipped(tmp_path / "y", {"a.json": ONE}, zipfile.ZIP_LZMA))
    assert "in a way that OSV does not use" in str(fault)


def test_bounds(tmp_path: Path) -> None:
    """More records, or more bytes in all, than are taken end the import with what is too many."""
    lines = tmp_path / "lines.jsonl"
    lines.write_bytes((ONE + b"\n") * 4)
    with pytest.raises(UsageError, match="more than 3 records"):
        read(lines)
    lines.write_bytes((b"x" * 900 + b"\n") * 3)
    with pytest.raises(UsageError, match="more than 2000 bytes"):
        read(lines)
    with pytest.raises(UsageError, match="that is too many"):
        read(zipped(tmp_path / "z", {f"{number}": b"" for number in range(4)}))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("absent.json", None, "cannot be read"),
        ("words.txt", b"words", "is no zip, no folder"),
        ("broken.zip", b"PK\x03\x04 and no more", "is no zip that can be read"),
    ],
)
def test_no_snapshot(tmp_path: Path, name: str, content: bytes | None, why: str) -> None:
    """What is no snapshot is refused in words."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=why):
        read(tmp_path / name)
