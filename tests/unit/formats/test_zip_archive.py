"""Zip archives: what is read, and that each way to show two programs two trees is refused."""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shared.formats.archive import DEFAULT_LIMITS, READ_BYTES, Contents, Limits
from shared.formats.zip_archive import read_zip
from tests.support.archives import ZipEnd, ZipEntry, payload, raw_zip, tar_block, zip_entry, zip_of

Read = Callable[..., Contents]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that reads bytes as a zip; members named `keep*` are wanted up to 100 bytes."""

    def reader(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Contents:
        path = tmp_path / "archive"
        path.write_bytes(data)
        return read_zip(path, lambda member: 100 if member.startswith("keep") else 0, limits)

    return reader


def test_members_are_hashed_and_wanted_ones_kept(read: Read) -> None:
    """Every member has its length and digest; only wanted ones have their bytes; folders are told apart."""
    big = payload(700_000) + bytes(700_000)
    contents = read(zip_of({"keep.txt": b"hello", "big": big, "folder/": b"", "folder/\u00e9": b""}))
    assert contents.issues == ()
    assert contents.complete
    assert contents.kept == {"keep.txt": b"hello"}
    assert contents.folders == {"folder"}
    assert {path: (m.length, m.sha256) for path, m in contents.members.items()} == {
        path: (len(data), hashlib.sha256(data).hexdigest())
        for path, data in {"keep.txt": b"hello", "big": big, "folder/\u00e9": b""}.items()
    }


def test_an_empty_zip_is_read(read: Read) -> None:
    """A zip without members is a zip; whoever asks for members finds none."""
    contents = read(raw_zip([]))
    assert (contents.issues, contents.complete, dict(contents.members)) == ((), True, {})


def _zip64_local(entry: ZipEntry) -> ZipEntry:
    extra = struct.pack("<HHQQ", 1, 16, entry.local.length, entry.local.packed)
    return replace(entry, local=replace(entry.local, length=0xFFFFFFFF, packed=0xFFFFFFFF, extra=extra))


def _zip64_central(entry: ZipEntry, tail: bytes = b"") -> ZipEntry:
    assert entry.central is not None
    extra = struct.pack("<HHQ", 1, 8 + len(tail), entry.central.length) + tail
    return replace(entry, central=replace(entry.central, length=0xFFFFFFFF, extra=extra))


_PLAIN = zip_entry("a.txt", b"data", deflate=True)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(raw_zip([_zip64_local(_PLAIN)]), id="zip64 local header"),
        pytest.param(raw_zip([_zip64_central(_PLAIN)]), id="zip64 central header"),
        pytest.param(raw_zip([_PLAIN.both(extra=struct.pack("<HH", 1, 0))]), id="empty zip64 record"),
        pytest.param(raw_zip([_zip64_central(_PLAIN, bytes(4))]), id="zip64 central header with its disk"),
        pytest.param(raw_zip([_PLAIN], ZipEnd(zip64=True)), id="zip64 end record"),
        pytest.param(raw_zip([_PLAIN.both(extra=struct.pack("<HH4s", 0x5455, 4, b"time"))]), id="other extra field"),
        pytest.param(raw_zip([_PLAIN.both(flags=0x0004)]), id="deflate level flags"),
        pytest.param(raw_zip([_PLAIN.both(flags=0x0800)]), id="ASCII name marked UTF-8"),
    ],
)
def test_sound_variants_are_taken(read: Read, data: bytes) -> None:
    """ZIP64 records and flags that say the same as everything else are fine, and Python's own library agrees."""
    contents = read(data)
    assert contents.issues == ()
    assert [member.length for member in contents.members.values()] == [4]
    assert zipfile.ZipFile(io.BytesIO(data)).read("a.txt") == b"data"


def _local(entry: ZipEntry, **changes: object) -> ZipEntry:
    return replace(entry, local=replace(entry.local, **changes))  # type: ignore[arg-type]


def _unicode_path(name: bytes) -> bytes:
    return struct.pack("<HHBL", 0x7075, 5 + len(name), 1, 0) + name


_HIDDEN = struct.pack("<HH4sLQL", 0x9999, 20, b"PK\x06\x07", 0, 0, 1)
_TWICE = struct.pack("<HHHH", 1, 0, 1, 0)
_B = zip_entry("b.txt", b"data")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "cut short", id="empty file"),
        pytest.param(b"hello world", "not a zip", id="text"),
        pytest.param(raw_zip([_PLAIN])[:-1], "cut short", id="truncated"),
        pytest.param(raw_zip([_PLAIN])[:40], "cut short", id="truncated early"),
        pytest.param(b"\0" + raw_zip([_PLAIN]), "not a zip", id="bytes before"),
        pytest.param(raw_zip([_PLAIN], ZipEnd(trailing=b"x")), "after the end", id="bytes after"),
        pytest.param(raw_zip([_PLAIN]) * 2, "after the end", id="two zips"),
        pytest.param(raw_zip([_PLAIN], ZipEnd(comment=b"hi")), "has a comment", id="comment"),
        pytest.param(raw_zip([replace(_PLAIN, comment=b"hi")]), "comment on 'a.txt'", id="member comment"),
        pytest.param(raw_zip([_PLAIN, _PLAIN]), "'a.txt' is there twice", id="duplicate"),
        pytest.param(raw_zip([replace(_PLAIN, copies=2)]), "lists 'a.txt' twice", id="listed twice"),
        pytest.param(raw_zip([replace(_PLAIN, central=None)]), "not in the central directory", id="not listed"),
        pytest.param(raw_zip([_local(_PLAIN, name=b"z.txt")]), "lists 'a.txt', which has no local", id="other name"),
        pytest.param(raw_zip([_local(_PLAIN, crc=1)]), "disagree", id="other checksum"),
        pytest.param(raw_zip([_local(_PLAIN, length=3)]), "disagree", id="other length"),
        pytest.param(raw_zip([_PLAIN.both(crc=1)]), "checksum", id="wrong checksum"),
        pytest.param(raw_zip([_PLAIN.both(length=3)]), "another length", id="longer than told"),
        pytest.param(raw_zip([_PLAIN.both(length=5)]), "another length", id="shorter than told"),
        pytest.param(raw_zip([_B.both(length=3)]), "another length", id="stored, two lengths"),
        pytest.param(raw_zip([_PLAIN.both(flags=0x0008)]), "data descriptor", id="descriptor"),
        pytest.param(raw_zip([_PLAIN.both(flags=0x0001)]), "encrypted", id="encrypted"),
        pytest.param(raw_zip([_PLAIN.both(flags=0x2000)]), "not taken", id="hidden headers"),
        pytest.param(raw_zip([_PLAIN.both(needed=64)]), "zip version 6.4", id="version needed"),
        pytest.param(raw_zip([_PLAIN.both(method=12)]), "method 12", id="bzip2"),
        pytest.param(raw_zip([_PLAIN.both(method=14)]), "method 14", id="lzma"),
        pytest.param(raw_zip([replace(_PLAIN, data=b"\xff" * _PLAIN.local.packed)]), "inflated", id="bad deflate"),
        pytest.param(raw_zip([zip_entry(b"\xff\xfe", b"").both(flags=0x0800)]), "not UTF-8", id="bad UTF-8"),
        pytest.param(raw_zip([zip_entry("\u00e9").both(flags=0)]), "not marked as UTF-8", id="code page"),
        pytest.param(raw_zip([replace(_B, mode=0o120777)]), "link or a special file", id="symbolic link"),
        pytest.param(raw_zip([replace(_B, mode=0o010644)]), "link or a special file", id="FIFO"),
        pytest.param(raw_zip([zip_entry("d/", b"x")]), "bytes of its own", id="folder with bytes"),
        pytest.param(raw_zip([_PLAIN.both(extra=_TWICE)]), "twice", id="ZIP64 twice"),
        pytest.param(raw_zip([_PLAIN.both(extra=b"\x01")]), "malformed", id="half an extra field"),
        pytest.param(raw_zip([_PLAIN.both(extra=struct.pack("<HH", 9, 9))]), "malformed", id="short extra field"),
        pytest.param(raw_zip([_PLAIN.both(extra=_unicode_path(b"evil"))]), "another name", id="Unicode path"),
        pytest.param(raw_zip([_local(_PLAIN, extra=struct.pack("<HHQ", 1, 8, 4))]), "ZIP64", id="half a ZIP64 record"),
        pytest.param(
            raw_zip([_local(_PLAIN, extra=struct.pack("<HHQQ", 1, 16, 9, 9))]), "ZIP64", id="ZIP64 against header"
        ),
        pytest.param(raw_zip([_local(_PLAIN, length=0xFFFFFFFF)]), "ZIP64", id="ZIP64 record missing"),
        pytest.param(raw_zip([_zip64_central(_PLAIN, bytes(8))]), "ZIP64", id="ZIP64 record too long"),
        pytest.param(
            raw_zip([_PLAIN], ZipEnd(zip64=True)).replace(b"PK\x06\x07", b"PK\x06\x08"), "no locator", id="no locator"
        ),
        pytest.param(raw_zip([_PLAIN], ZipEnd(records=2)), "does not describe", id="wrong count"),
        pytest.param(raw_zip([_PLAIN], ZipEnd(offset=1)), "does not describe", id="wrong offset"),
        pytest.param(raw_zip([_PLAIN], ZipEnd(length=1)), "does not describe", id="wrong length"),
        pytest.param(raw_zip([_PLAIN], ZipEnd(zip64=True, records=2)), "does not describe", id="ZIP64 count"),
        pytest.param(raw_zip([_PLAIN], ZipEnd(zip64=True, zip64_offset=0)), "points elsewhere", id="ZIP64 locator"),
        pytest.param(raw_zip([_PLAIN], ZipEnd(before=b"junk")), "not taken", id="gap before the end"),
        pytest.param(
            raw_zip([replace(_PLAIN, central=replace(_PLAIN.local, extra=_HIDDEN))]), "hides", id="hidden locator"
        ),
    ],
)
def test_ambiguous_and_damaged_zips_are_refused(read: Read, data: bytes, words: str) -> None:
    """Each fault is one sentence that names it."""
    issues = read(data).issues
    assert any(words in issue for issue in issues), issues
    assert all(issue.isascii() and "\n" not in issue for issue in issues)


def test_bytes_after_the_deflate_stream_are_refused(read: Read) -> None:
    """Data hidden behind a member's compressed bytes is a fault, within one read or after it."""
    for hidden in (b"x", payload(600_000)):
        entry = replace(_PLAIN, data=_PLAIN.data + hidden).both(packed=len(_PLAIN.data) + len(hidden))
        assert any("after the end of its data" in issue for issue in read(raw_zip([entry])).issues)


@pytest.mark.parametrize("more", [0, 1, 20, 21, 22, 258, 259, READ_BYTES])
def test_members_are_read_whole_at_every_edge(read: Read, more: int) -> None:
    """A member that unpacks to just more than one read gives all its bytes, also those zlib still holds back."""
    data = bytes(READ_BYTES + more)
    contents = read(raw_zip([zip_entry("a", data, deflate=True)]))
    assert contents.issues == ()
    assert contents.members["a"].sha256 == hashlib.sha256(data).hexdigest()
    if more:
        shorter = read(raw_zip([zip_entry("a", data, deflate=True).both(length=READ_BYTES)]))
        assert shorter.members["a"].length == READ_BYTES + 1
        assert any("another length" in issue for issue in shorter.issues)


def test_a_deflate_stream_that_ends_early_is_refused(read: Read) -> None:
    """A member whose compressed bytes stop in the middle is damaged."""
    entry = zip_entry("a", payload(1000), deflate=True)
    cut = replace(entry, data=entry.data[:500]).both(packed=500)
    assert any("ends too early" in issue for issue in read(raw_zip([cut])).issues)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil", "'..'"),
        ("a/../../evil", "'..'"),
        ("/etc/passwd", "absolute"),
        ("C:/evil", "absolute"),
        ("c:evil", "absolute"),
        ("a\\b", "backslash"),
        ("a//b", "shortest"),
        ("./a", "shortest"),
        ("a/./b", "shortest"),
        ("a\nb", "control"),
        ("a\x00b", "control"),
        ("a\x7fb", "control"),
        ("a\u0085b", "control"),
        ("", "characters long"),
        ("a" * 256, "255 bytes"),
        ("/".join(["a" * 100] * 12), "1024"),
    ],
)
def test_paths_that_lead_astray_are_refused(read: Read, name: str, words: str) -> None:
    """No member's path may leave the folder it is unpacked to, or mean different things on different systems."""
    issues = read(raw_zip([zip_entry(name, b"x")])).issues
    assert any(words in issue for issue in issues), issues


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["A.py", "a.py"], "fall on each other"),
        (["caf\u00e9", "cafe\u0301"], "fall on each other"),
        (["A/x", "a/y"], "differ in case"),
        (["a", "a/b"], "which is no folder"),
        (["a/b", "a"], "fall on each other"),
        (["A/", "a/"], "differ in case"),
        (["stra\u00dfe", "STRASSE"], "fall on each other"),
    ],
)
def test_members_that_fall_on_each_other_are_refused(read: Read, names: list[str], words: str) -> None:
    """Two members that meet on a case-blind or normalising file system are a fault."""
    issues = read(raw_zip([zip_entry(name) for name in names])).issues
    assert len(issues) == 1
    assert words in issues[0] or "is there twice" in issues[0]


def test_all_faults_are_told_at_once(read: Read) -> None:
    """Several faults of several members come in one answer, and a flood of them is counted."""
    data = raw_zip([zip_entry("../a"), _PLAIN.both(crc=1), zip_entry("b\\c")])
    assert len(read(data).issues) == 3
    flood = read(raw_zip([zip_entry(f"../{n}") for n in range(50)])).issues
    assert len(flood) == 21
    assert flood[-1] == "There are 30 more faults of this file."


def test_a_polyglot_of_zip_and_tar_is_refused(read: Read) -> None:
    """A zip whose first block is also a tar header is two archives in one."""
    block = bytearray(tar_block(b"PK\x03\x04" + bytes(96)))
    name_length = 512 - 30
    struct.pack_into("<HHHHHLLLHH", block, 4, 20, 0, 0, 0, 0, 0, 0, 0, name_length, 0)
    block[100:108] = b"0000644\0"
    sum_of = sum(block) - sum(block[148:156]) + 256
    block[148:156] = b"%06o\0 " % sum_of
    data = bytes(block)
    tarfile.TarInfo.frombuf(data, "utf-8", "surrogateescape")
    assert "The file is a zip and a tar at once." in read(data).issues


def test_too_many_members_stop_the_reading(read: Read) -> None:
    """The count of members is limited, and what was not read is known to be unread."""
    contents = read(raw_zip([zip_entry(str(n)) for n in range(5)]), Limits(entries=4))
    assert contents.issues == ("The archive has more than 4 members.",)
    assert not contents.complete


def test_an_unpacked_size_above_the_limit_stops_the_reading(read: Read) -> None:
    """The sizes that headers announce are added up before anything is inflated."""
    contents = read(zip_of({"a": bytes(600), "b": bytes(600)}), Limits(unpacked_bytes=1000))
    assert contents.issues == ("The archive unpacks to more than 1000 bytes.",)
    assert list(contents.members) == ["a"]


def test_a_bomb_is_refused_by_its_ratio(read: Read) -> None:
    """Above the floor, an archive must not unpack to more than 50 times its size."""
    limits = Limits(ratio_floor_bytes=100_000)
    assert any("50 times" in issue for issue in read(zip_of({"a": bytes(200_000)}), limits).issues)
    assert read(zip_of({"a": bytes(90_000)}), limits).issues == ()


def test_a_bomb_that_lies_about_its_size_is_not_inflated(read: Read) -> None:
    """Inflating stops one byte after what the header announces."""
    entry = zip_entry("keep", bytes(50_000_000), deflate=True).both(length=10)
    contents = read(raw_zip([entry]))
    assert any("another length" in issue for issue in contents.issues)
    assert contents.members["keep"].length == 11


def test_a_wanted_member_that_is_too_long_is_a_fault(read: Read) -> None:
    """Bytes are kept only up to what was asked for."""
    contents = read(zip_of({"keep": bytes(101)}))
    assert contents.issues == ("'keep' is longer than 100 bytes.",)
    assert contents.kept == {}


def test_wanted_members_together_are_limited(read: Read) -> None:
    """Many wanted members cannot fill the memory."""
    contents = read(zip_of({f"keep{n}": bytes(100) for n in range(5)}), Limits(kept_bytes=350))
    assert contents.issues == ("The metadata in the archive are longer than 350 bytes.",)
    assert len(contents.kept) == 3
