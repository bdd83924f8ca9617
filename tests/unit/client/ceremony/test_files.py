"""Files of a ceremony: written whole and once, or not at all, and always with words."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from countermark.ceremony.files import write_new
from countermark.core.errors import LocalState
from countermark.core.signing.access import KeyAccess
from countermark.core.signing.faults import KeyUnusable
from countermark.core.signing.making import make_key


def test_what_is_no_file_is_not_written_to(tmp_path: Path) -> None:
    """A folder, or a device that never ends, in the place of the file is told, not read."""
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(LocalState, match="is there already"):
            write_new(path, b"content")


def test_the_same_content_once_more_is_fine(tmp_path: Path) -> None:
    """A second run writes nothing and does not fail; another content does, and a longer one is another."""
    path = tmp_path / "event.json"
    write_new(path, b"content")
    write_new(path, b"content")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"content", 0o600)
    for other in (b"contenT", b"conten", b"content!"):
        with pytest.raises(LocalState, match="with another content"):
            write_new(path, other)


def test_a_full_disk_leaves_nothing_half(tmp_path: Path) -> None:
    """What could not be written whole is removed again, so that the next try is not told it is there."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(LocalState, match="cannot write"):
            write_new(tmp_path / "event.json", b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_half_key(tmp_path: Path) -> None:
    """A key that could not be written is not there, so that the next try makes one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(KeyUnusable, match="cannot be written"):
            make_key(f"file2:{tmp_path / 'key.pem'}", KeyAccess())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
