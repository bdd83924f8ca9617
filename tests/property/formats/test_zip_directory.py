"""Archives of any kind: no path leaves them, and what is read is what Python's own library reads."""

from __future__ import annotations

import io
import re
import zipfile

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.formats.zip_directory import UnreadableZip
from tests.support.archives import ZipEntry, raw_zip, zip_entry, zip_of
from tests.support.zips import directory_of, unpack

_SEGMENTS = st.sampled_from(["..", ".", "", "a", "index.html", "C:", "\\", "\0", "~", " ", "%2e%2e", "\u2025", "CON"])
_PATHS = st.lists(_SEGMENTS, min_size=1, max_size=6).map("/".join) | st.text(max_size=30)
_NAMES = _PATHS.map(lambda path: path.encode("utf-8", "surrogatepass")) | st.binary(max_size=20)
_ENTRIES = st.builds(
    lambda name, data, deflate, mode, flags: _entry(name, data, deflate=deflate, mode=mode, flags=flags),
    _NAMES,
    st.binary(max_size=60),
    st.booleans(),
    st.sampled_from([0o100644, 0o120777, 0o040755, 0]),
    st.sampled_from([0, 0x0800, 1]),
)
_CHANGES = st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=6), st.integers(0, 6)), min_size=1, max_size=4)


def _entry(name: bytes, data: bytes, *, deflate: bool, mode: int, flags: int) -> ZipEntry:
    made = zip_entry(name, data, deflate=deflate).both(flags=flags)
    return ZipEntry(made.local, made.central, made.data, mode=mode)


def _read_by_python(data: bytes, path: str) -> bytes | None:
    """Return what Python's own library reads; None when it refuses, or reads the member's name in another encoding."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.read(path)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return None
    except KeyError:
        assert not path.isascii()
        return None


def _plain(path: str) -> bool:
    """Whether a path names one thing below a folder, for every program and every system."""
    return (
        not path.startswith("/")
        and "\\" not in path
        and not re.match("[A-Za-z]:", path)
        and all(segment not in {"", ".", ".."} for segment in path.split("/"))
        and all(ord(character) >= 0x20 for character in path)
    )


@settings(max_examples=300, deadline=None)
@given(entries=st.lists(_ENTRIES, max_size=6))
def test_no_path_leaves_the_archive(entries: list[ZipEntry]) -> None:
    """Every member that can be asked for lies below the documentation, and is read whole."""
    data = raw_zip(entries)
    directory = directory_of(data)
    for path in directory:
        assert _plain(path)
        member = directory.member(path)
        assert member is not None
        content = unpack(data, path, 13)
        assert content is not None
        assert len(content) == member.length


@settings(max_examples=300, deadline=None)
@given(entries=st.lists(_ENTRIES, min_size=1, max_size=4), path=_PATHS)
def test_a_member_is_found_by_its_exact_path_alone(entries: list[ZipEntry], path: str) -> None:
    """No other spelling of a path means it."""
    directory = directory_of(raw_zip(entries))
    assert (directory.member(path) is not None) == (path in set(directory))


@settings(max_examples=400, deadline=None)
@given(changes=_CHANGES)
def test_damaged_archives_are_unreadable_or_read_as_python_reads_them(
    changes: list[tuple[int, bytes, int]],
) -> None:
    """Nothing but `UnreadableZip` is raised, and a member is never other bytes than Python's own library finds."""
    data = zip_of({"index.html": b"<p>" * 30, "a/b.css": b"", "c.js": b"let x = 1;"})
    for at, put, drop in changes:
        at %= len(data) + 1
        data = data[:at] + put + data[at + drop :]
    try:
        directory = directory_of(data)
    except UnreadableZip:
        return
    for path in directory:
        try:
            content = unpack(data, path, 11)
        except UnreadableZip:
            continue
        assert _read_by_python(data, path) in (None, content)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300), tail=st.sampled_from([b"", b"PK\x05\x06" + bytes(18)]))
def test_any_bytes_are_unreadable_or_a_directory(data: bytes, tail: bytes) -> None:
    """No input raises anything else."""
    try:
        directory_of(data + tail)
    except UnreadableZip:
        return
