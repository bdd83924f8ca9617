"""Archives under any damage: refused in words, or read exactly as the programs of the users read them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.version import Version

from shared.formats.archive import Contents, Limits
from shared.formats.interface import Inspected, InvalidFile
from shared.formats.registry import FORMATS
from shared.formats.tar_archive import read_tar_gz
from shared.formats.zip_archive import read_zip
from tests.support.archives import (
    Project,
    TarEntry,
    make_sdist,
    make_wheel,
    raw_tar,
    sdist_name,
    wheel_members,
    wheel_name,
    with_record,
    zip_of,
)

_PROJECT = Project("widget", "1.0", requires_python=">=3.8", lines=["Project-URL: Home, https://x.test"])
_WHEEL = make_wheel("widget", "1.0", project=_PROJECT, extra_members={"widget/a.txt": b"a" * 50})
_SDIST = make_sdist("widget", "1.0", project=_PROJECT)
_ENTRIES = [
    TarEntry("top", kind=tarfile.DIRTYPE),
    TarEntry("top/" + "long" * 40, b"some data", pax={"comment": "x"}),
    TarEntry("top/a", b"more"),
    TarEntry("top/link", kind=tarfile.SYMTYPE, link="a"),
]
_TARS = [raw_tar(_ENTRIES), raw_tar(_ENTRIES, tar_format=tarfile.GNU_FORMAT)]

_Changes = Sequence[tuple[int, bytes, int]]
_MANY = 1 << 20
_VALUES = st.one_of(
    st.binary(max_size=5), st.sampled_from([b"\0", b"\xff\xff\xff\xff", b"PK\x05\x06", b"/", b"..", b"0"])
)
_CHANGES = st.lists(st.tuples(st.integers(0, _MANY), _VALUES, st.integers(0, 5)), min_size=1, max_size=4)


def _changed(data: bytes, changes: _Changes, *, keep_length: bool = False) -> bytes:
    """Put bytes in, or over others, at places that hypothesis can move."""
    for at, put, drop in changes:
        at %= len(data) + 1
        data = data[:at] + put + data[at + (len(put) if keep_length else drop) :]
    return data


def _on_disk(data: bytes) -> tempfile._TemporaryFileWrapper[bytes]:
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115
    file.write(data)
    file.flush()
    return file


def _inspect(file_name: str, data: bytes) -> Inspected | None:
    """Inspect bytes; None when they are refused, which must be in ASCII sentences."""
    python = FORMATS["python"]
    with _on_disk(data) as file:
        try:
            return python.inspect(Path(file.name), python.parse_name(file_name))
        except InvalidFile as error:
            _check_sentences(error.issues)
            return None


def _check_sentences(issues: Sequence[str]) -> None:
    assert issues
    assert all(issue.isascii() and issue.endswith(".") and "\n" not in issue for issue in issues)


@settings(max_examples=300, deadline=None)
@given(changes=_CHANGES, keep_length=st.booleans())
def test_damaged_wheels_are_refused_or_sound(changes: _Changes, keep_length: bool) -> None:
    """A wheel that is taken has for Python's own library the metadata that were found."""
    data = _changed(_WHEEL, changes, keep_length=keep_length)
    found = _inspect(wheel_name("widget", "1.0"), data)
    if found is not None:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None
            assert archive.read("widget-1.0.dist-info/METADATA") == found.core_metadata


@settings(max_examples=200, deadline=None)
@given(changes=_CHANGES, keep_length=st.booleans())
def test_damaged_metadata_are_refused_or_sound(changes: _Changes, keep_length: bool) -> None:
    """Whatever stands in METADATA or PKG-INFO, name and version are the file name's, or the file is refused."""
    metadata = _changed(_PROJECT.to_bytes(), changes, keep_length=keep_length)
    members = {**wheel_members("widget", "1.0"), "widget-1.0.dist-info/METADATA": metadata}
    wheel = _inspect(wheel_name("widget", "1.0"), zip_of(with_record("widget", "1.0", members)))
    sdist = _inspect(sdist_name("widget", "1.0"), make_sdist("widget", "1.0", extra_members={"PKG-INFO": metadata}))
    assert (wheel is None) == (sdist is None)
    if wheel is not None and sdist is not None:
        assert wheel.fields == sdist.fields
        assert wheel.fields["name"].lower() == "widget"
        assert Version(wheel.fields["version"]) == Version("1.0")
        assert "\0" not in json.dumps(wheel.fields)


@settings(max_examples=300, deadline=None)
@given(changes=_CHANGES, keep_length=st.booleans())
def test_damaged_zips_are_read_as_python_reads_them(changes: _Changes, keep_length: bool) -> None:
    """Without issues, every member is the same for us and for Python's own library."""
    data = _changed(zip_of({"a/b": b"x" * 40, "\u00e9": b"", "c": b"12345"}), changes, keep_length=keep_length)
    with _on_disk(data) as file:
        contents = read_zip(Path(file.name), lambda _: 0)
    if not contents.issues:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            theirs = {info.filename: hashlib.sha256(archive.read(info)).hexdigest() for info in archive.infolist()}
        assert theirs == {path: member.sha256 for path, member in contents.members.items()}


def _read_tar(data: bytes) -> Contents:
    with _on_disk(gzip.compress(data, compresslevel=1)) as file:
        return read_tar_gz(Path(file.name), lambda _: 1000, Limits(unpacked_bytes=1 << 20))


def _with_checksums(data: bytes, original: bytes) -> bytes:
    """Repair the checksums of changed header blocks, so that changes get past them."""
    blocks = bytearray(data)
    for at in range(0, min(len(data), len(original)) - 511, 512):
        block = blocks[at : at + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            blocks[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    return bytes(blocks)


@settings(max_examples=500, deadline=None)
@given(changes=_CHANGES, which=st.integers(0, 1), repair=st.booleans())
@example(changes=[(124, b"00000000001", 0)], which=1, repair=True)
@example(changes=[(1188, b" \x01", 0)], which=1, repair=False)
def test_damaged_tars_are_read_as_python_reads_them(changes: _Changes, which: int, repair: bool) -> None:
    """Without issues, every member is the same for us and for Python's own library."""
    original = _TARS[which]
    data = _changed(original, changes, keep_length=True)
    if repair:
        data = _with_checksums(data, original)
    contents = _read_tar(data)
    if contents.issues:
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {info.name: info for info in archive.getmembers() if info.isreg()}
        assert {name: info.size for name, info in files.items()} == {
            path: member.length for path, member in contents.members.items()
        }
        for name, info in files.items():
            extracted = archive.extractfile(info)
            assert extracted is not None
            assert extracted.read() == contents.kept.get(name, b"")


@settings(max_examples=200, deadline=None)
@given(changes=_CHANGES, keep_length=st.booleans())
def test_damaged_source_archives_are_refused_or_sound(changes: _Changes, keep_length: bool) -> None:
    """A source archive that is taken has for Python's own library the metadata that were found."""
    data = _changed(_SDIST, changes, keep_length=keep_length)
    found = _inspect(sdist_name("widget", "1.0"), data)
    if found is not None:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            extracted = archive.extractfile("widget-1.0/PKG-INFO")
            assert extracted is not None
            assert extracted.read() == found.core_metadata


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2000), st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08\0\0\0\0\0\0\3"]))
def test_random_bytes_are_refused_in_words(tail: bytes, magic: bytes) -> None:
    """No bytes make the readers fail otherwise."""
    assert _inspect(wheel_name("widget", "1.0"), magic + tail) is None
    assert _inspect(sdist_name("widget", "1.0"), magic + tail) is None
