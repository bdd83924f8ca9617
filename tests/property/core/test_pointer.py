"""Properties of the pointer document. Source: trust contract section 3.2."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, IndexName, NormalizedName, parse_target_path, pointer_target
from countermark.core.pointer import (
    MAX_FILE_LENGTH,
    Latest,
    MalformedPointer,
    Pointer,
    Resource,
    parse_latest,
    parse_pointer,
)

digests = st.text("0123456789abcdef", min_size=64, max_size=64).map(Sha256) | st.just(Sha256("1" * 64))
lengths = st.integers(1, MAX_FILE_LENGTH).map(Length)
projects = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,30}[A-Za-z0-9])?", fullmatch=True).map(canonicalize_name)
versions = st.from_regex(
    r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}((a|b|rc|\.post|\.dev)[0-9]{1,3})?(\+[a-z0-9]{1,8})?", fullmatch=True
)
words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
indexes = st.builds(IndexName, words.map("o{}".format), words)
file_names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._!+-]{0,100}", fullmatch=True).map(FileName)


@st.composite
def resources(draw: st.DrawFn) -> Resource:
    """A resource named by its own digest."""
    digest = draw(digests)
    return Resource(f"/files/{digest[:2]}/{digest[2:]}/{draw(file_names)}", digest, draw(lengths))


pointers = st.builds(
    Pointer, name=projects, version=versions, index=indexes, file=resources(), attestation=st.none() | resources()
)
latests = st.builds(Latest, name=projects, version=versions, index=indexes, file=file_names)


@given(pointers)
def test_pointers_round_trip(pointer: Pointer) -> None:
    """ "Bytes are reproducible": what is written is read back equal, and written again to the same bytes."""
    data = pointer.to_bytes()
    assert parse_pointer(data) == pointer
    assert parse_pointer(data).to_bytes() == data


@given(latests)
def test_latest_round_trips(latest: Latest) -> None:
    """`_latest` is read back as it was written."""
    assert parse_latest(latest.to_bytes()) == latest


@given(st.binary(max_size=5000))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Hostile bytes are refused with one error, whatever they are."""
    try:
        parse_pointer(data)
    except MalformedPointer:
        return
    assert len(data) <= 4096


@given(st.text("{}[]:-?&*!|>'\"%@`#, \n\tpointer01.~yes", max_size=300))
def test_yaml_like_text_is_read_or_refused(text: str) -> None:
    """Text in YAML's own alphabet never escapes as another error."""
    try:
        parse_pointer(text.encode())
    except MalformedPointer:
        return
    pytest.fail("text without a digest was read as a pointer")


@given(pointers, st.data())
def test_one_changed_byte_never_passes_as_the_same(pointer: Pointer, data: st.DataObject) -> None:
    """A changed byte is refused or read as something else; the digest decides, and the parser never hides a change."""
    whole = bytearray(pointer.to_bytes())
    position = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255))
    assume(whole[position] != byte)
    before, whole[position] = whole[position], byte
    try:
        changed = parse_pointer(bytes(whole))
    except MalformedPointer:
        return
    # Quotes, spaces and the keys of optional parts may vary without a change of meaning; values may not.
    if changed == pointer:
        assert chr(before) in "\" \n'" or chr(byte) in "\" \n\r'#"


@given(pointers, st.sampled_from(["1.10", "010", "1:30", "no", "~", "null", "1e3", "0x10", "0o17", "1_000"]))
def test_versions_stay_text(pointer: Pointer, version: str) -> None:
    """ "All scalars read as strings": what YAML would turn into a number or a truth value stays what was written;
    without quotes, where other readers would turn it into that, it is refused."""
    written = f'  version: "{pointer.version}"'.encode()
    quoted = pointer.to_bytes().replace(written, f'  version: "{version}"'.encode())
    assert parse_pointer(quoted).version == version
    with pytest.raises(MalformedPointer, match="without quotes"):
        parse_pointer(pointer.to_bytes().replace(written, f"  version: {version}".encode()))


@given(pointers)
def test_a_key_twice_is_refused(pointer: Pointer) -> None:
    """ "No duplicate keys": a second value never wins over the first, nor the first over the second."""
    for line in pointer.to_bytes().splitlines(keepends=True)[1:7]:
        with pytest.raises(MalformedPointer):
            parse_pointer(pointer.to_bytes().replace(line, line + line, 1))


@given(projects, file_names, file_names)
def test_target_paths_are_one_to_one(project: NormalizedName, one: FileName, other: FileName) -> None:
    """Two file names never share a target path, and each path has the shape of the contract."""
    assume(one != other)
    assert pointer_target(project, one) != pointer_target(project, other)
    assert parse_target_path(pointer_target(project, one)).count("/") == 2
