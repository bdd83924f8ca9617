"""Single members of archives that nobody checked: what is read, what is not there, what makes all unreadable."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest

from shared.formats.zip_directory import DirectoryLimits, UnreadableZip
from tests.support.archives import (
    ZipEnd,
    ZipEntry,
    overlapping_zip,
    payload,
    raw_zip,
    streamed_zip,
    zip_bomb,
    zip_entry,
    zip_of,
)
from tests.support.zips import directory_of, unpack

PAGE = b"<h1>Widget</h1>" * 100


@pytest.mark.parametrize("chunk", [1, 7, 100, 262_144])
@pytest.mark.parametrize("make", [zip_of, streamed_zip, lambda members: zip_of(members, stored=True)])
def test_members_come_as_they_were_packed(make: object, chunk: int) -> None:
    """Whatever the chunks, also from archives that were written to a pipe, also empty members."""
    members = {"index.html": PAGE, "empty.css": b"", "a/b/\u00fc.js": b"let x;"}
    data = make(members)  # type: ignore[operator]
    assert set(directory_of(data)) == set(members)
    for path, content in members.items():
        assert unpack(data, path, chunk) == content
    assert unpack(data, "a/b") is None


def test_a_comment_and_zip64_are_read() -> None:
    """End records of every legal form."""
    entry = zip_entry("index.html", PAGE)
    for end in (ZipEnd(comment=b"c" * 65_535), ZipEnd(zip64=True), ZipEnd(zip64=True, comment=b"PK\x05\x06")):
        assert unpack(raw_zip([entry], end), "index.html") == PAGE


def _encrypted(entry: ZipEntry) -> ZipEntry:
    return entry.both(flags=1)


def _link(entry: ZipEntry) -> ZipEntry:
    return replace(entry, mode=0o120777)


def _device(entry: ZipEntry) -> ZipEntry:
    return replace(entry, mode=0o060600)


def _bzip2(entry: ZipEntry) -> ZipEntry:
    return entry.both(method=12)


@pytest.mark.parametrize("change", [_encrypted, _link, _device, _bzip2])
def test_what_cannot_be_served_is_not_there(change: object) -> None:
    """Encrypted members, links, devices and unknown methods; the others of the archive are read all the same."""
    data = raw_zip([zip_entry("index.html", PAGE), change(zip_entry("other.html", PAGE))])  # type: ignore[operator]
    assert set(directory_of(data)) == {"index.html"}
    assert unpack(data, "index.html") == PAGE


@pytest.mark.parametrize(
    "name",
    [
        "../up.html", "a/../../up.html", "/absolute.html", "C:/drive.html", "a\\b.html", "./a.html", "a//b.html", "..",
        "a/", "", "nul\0.html", "new\nline.html", "a/./b.html", "x" * 2000,
    ],
)  # fmt: skip
def test_paths_that_leave_the_archive_are_not_there(name: str) -> None:
    """Nor those that two programs could read in two ways."""
    data = raw_zip([zip_entry("index.html", PAGE), zip_entry(name, b"" if name.endswith("/") else b"evil")])
    assert set(directory_of(data)) == {"index.html"}


def test_names_of_old_programs_are_read() -> None:
    """Without the mark for UTF-8, what is none is taken for the old encoding."""
    entry = zip_entry(b"\x81.html", PAGE).both(flags=0)
    assert set(directory_of(raw_zip([entry]))) == {"\u00fc.html"}
    assert set(directory_of(raw_zip([zip_entry(b"\x81.html", PAGE).both(flags=0x0800)]))) == set()


def test_of_two_members_the_later_counts() -> None:
    """As Python's own library reads it."""
    data = raw_zip([zip_entry("index.html", b"old"), zip_entry("index.html", b"new")])
    assert unpack(data, "index.html") == b"new"


def test_a_member_that_expands_far_is_not_there() -> None:
    """A gigabyte in a megabyte is refused by its header; one that lies about its length ends there."""
    data = zip_bomb("index.html", 1024)
    assert len(data) < 2 << 20
    assert unpack(data, "index.html") is None
    small = zip_bomb("index.html", 5)
    limits = DirectoryLimits(member_bytes=1 << 20)
    assert unpack(small, "index.html", limits=limits) is None
    lying = zip_entry("index.html", bytes(5_000_000), deflate=True).both(length=1000)
    with pytest.raises(UnreadableZip, match="longer than its header says"):
        unpack(raw_zip([lying]), "index.html")


def test_a_member_that_is_packed_larger_than_it_can_be_is_not_there() -> None:
    """Empty blocks of deflate inflate to nothing, however many are read: what no packer writes is not unpacked."""
    packed = b"\0\0\0\xff\xff" * 2000 + zlib.compress(b"x", wbits=-15)
    entry = zip_entry("index.html", b"x", deflate=True).both(packed=len(packed))
    assert unpack(raw_zip([replace(entry, data=packed)]), "index.html") is None


@pytest.mark.parametrize("length", [0, 1, 100, 5_000, 500_000])
def test_what_cannot_be_packed_smaller_is_there(length: int) -> None:
    """Random bytes with the least dense packing, flushed every few bytes as programs that stream do."""
    content, packer = payload(length), zlib.compressobj(1, wbits=-15, strategy=zlib.Z_FIXED)
    parts = [content[at : at + 64] for at in range(0, length, 64)]
    packed = b"".join(packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH) for part in parts) + packer.flush()
    entry = zip_entry("index.html", content, deflate=True).both(packed=len(packed))
    assert unpack(raw_zip([replace(entry, data=packed)]), "index.html") == content


def test_only_a_members_own_bytes_are_asked_for() -> None:
    """Not what lies between it and the next one, but for what its own header may have more than the directory says."""
    gap = replace(zip_entry("a.html", b"x" * 1_000_000), central=None)
    member = directory_of(raw_zip([zip_entry("index.html", PAGE), gap])).member("index.html")
    assert member is not None
    assert member.stop - member.start < 200_000


def test_too_many_members_make_it_unreadable() -> None:
    """Before any of them is looked at."""
    data = raw_zip([zip_entry("a")] * 60_000)
    with pytest.raises(UnreadableZip, match="too many"):
        directory_of(data)
    hundred_thousand = raw_zip([zip_entry(b"%06d" % number) for number in range(100_000)], ZipEnd(zip64=True))
    with pytest.raises(UnreadableZip, match="too many"):
        directory_of(hundred_thousand)


def test_overlapping_members_make_it_unreadable() -> None:
    """Names that share bytes are how a small archive unpacks to petabytes."""
    with pytest.raises(UnreadableZip, match="overlap"):
        directory_of(overlapping_zip(1000))
    twice = replace(zip_entry("index.html", PAGE), copies=2)
    with pytest.raises(UnreadableZip, match="overlap"):
        directory_of(raw_zip([twice]))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a zip"),
        (b"no zip at all", "not a zip"),
        (b"\x1f\x8b" + bytes(100), "not a zip"),
        (raw_zip([zip_entry("a", b"b")])[:-1], "not a zip"),
        (raw_zip([zip_entry("a", b"b")], ZipEnd(trailing=b"x")), "not a zip"),
        (raw_zip([zip_entry("a", b"b")], ZipEnd(records=2)), "too short"),
        (raw_zip([zip_entry("a", b"b")], ZipEnd(records=0)), "longer than its members"),
        (raw_zip([zip_entry("a", b"b")], ZipEnd(offset=0)), "does not end where"),
        (raw_zip([zip_entry("a", b"b")], ZipEnd(length=10)), "does not end where"),
        (raw_zip([zip_entry("a", b"b")], ZipEnd(zip64=True, zip64_offset=3)), "ZIP64 locator"),
        (raw_zip([zip_entry("a", b"b").both(packed=500, length=500)]), "reaches into the central directory"),
        (raw_zip([zip_entry("a", b"b").both(packed=0xFFFFFFFF)]), "ZIP64 sizes are missing"),
        (b"prefix" + raw_zip([zip_entry("a", b"b")]), "does not end where"),
    ],
)
def test_what_is_no_zip_is_unreadable(data: bytes, words: str) -> None:
    """Each with its reason, for the log."""
    with pytest.raises(UnreadableZip, match=words):
        directory_of(data)


def _other_name(entry: ZipEntry) -> ZipEntry:
    return replace(entry, local=replace(entry.local, name=b"index.htm_"))


def _other_method(entry: ZipEntry) -> ZipEntry:
    return replace(entry, local=replace(entry.local, method=8))


def _long_extra(entry: ZipEntry) -> ZipEntry:
    body = bytearray(entry.data)
    return replace(entry, local=replace(entry.local, extra=b"\0\0\x04\0abcd"), data=bytes(body[:-8]))


def _wrong_sum(entry: ZipEntry) -> ZipEntry:
    return entry.both(crc=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_other_name, "another name"),
        (_other_method, "disagrees"),
        (_long_extra, "reaches into the next"),
        (_wrong_sum, "checksum"),
    ],
)
def test_a_member_that_contradicts_the_directory_is_refused(change: object, words: str) -> None:
    """Nothing of it is given whose checksum is wrong."""
    data = raw_zip([change(zip_entry("index.html", PAGE)), zip_entry("b", b"c")])  # type: ignore[operator]
    with pytest.raises(UnreadableZip, match=words):
        unpack(data, "index.html")


def test_damaged_data_is_refused() -> None:
    """Data that cannot be inflated, or ends too early."""
    good = zip_entry("index.html", PAGE, deflate=True)
    for data in (b"\xff" * len(good.data), good.data[:-3] + b"\0\0\0"):
        with pytest.raises(UnreadableZip):
            unpack(raw_zip([replace(good, data=data)]), "index.html")
    short = replace(good, data=good.data[:-2]).both(packed=len(good.data) - 2)
    with pytest.raises(UnreadableZip):
        unpack(raw_zip([short]), "index.html")


def test_a_directory_knows_its_weight() -> None:
    """So that memory stays bounded however many archives are asked for."""
    small, large = directory_of(zip_of({"a": b""})), directory_of(zip_of({str(n): b"" for n in range(2000)}))
    assert 250 < small.weight < 1000
    assert 2000 * 250 < large.weight < 2000 * 500
    assert len(large) == 2000
