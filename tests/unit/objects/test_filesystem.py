"""What only the folder store does: modes, links, durability's leftovers, words."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.objects.filesystem import ABANDONED_AFTER, CHUNK, INCOMING, FolderStore
from shared.objects.folder_errors import in_words
from shared.objects.interface import IfMatch, Key, LocalFile, ObjectNotFound, ObjectStoreError, Put

KEY = Key("files/ab/cd/pkg.whl")


def modes(root: Path) -> tuple[set[int], set[int]]:
    """Return the modes of all stored files and of their folders."""
    paths = [path for path in root.rglob("*") if INCOMING not in path.parts]
    files = {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()}
    return files, {stat.S_IMODE(path.stat().st_mode) for path in [root, *(path for path in paths if path.is_dir())]}


@pytest.mark.parametrize(("private", "expected"), [(False, ({0o644}, {0o755})), (True, ({0o600}, {0o700}))])
async def test_modes(tmp_path: Path, private: bool, expected: tuple[set[int], set[int]]) -> None:
    """A public folder can be read by a web server, a private one by its owner alone, whatever the umask."""
    source = tmp_path / "source"
    source.write_bytes(b"x")
    source.chmod(0o640)
    before = os.umask(0o027)
    try:
        store = FolderStore(tmp_path / "objects", private=private)
        await store.put(KEY, b"x")
        await store.put(Key("indexes/a/b/c"), LocalFile(source))
    finally:
        os.umask(before)
    assert modes(tmp_path / "objects") == expected


async def test_keys_are_paths(tmp_path: Path) -> None:
    """A web server finds an object under its key; the folder of unfinished bodies is closed to it and left empty."""
    store = FolderStore(tmp_path)
    await store.put(KEY, b"bytes")
    assert (tmp_path / KEY).read_bytes() == b"bytes"
    assert {path.name for path in tmp_path.iterdir()} == {"files", INCOMING}
    assert stat.S_IMODE((tmp_path / INCOMING).stat().st_mode) == 0o700
    assert list((tmp_path / INCOMING).iterdir()) == []


async def test_a_file_of_the_same_disk_is_linked(tmp_path: Path) -> None:
    """A body from a file costs no copy where the file system allows a link, also when it replaces itself."""
    source = tmp_path / "source"
    source.write_bytes(b"x" * 1000)
    store = FolderStore(tmp_path / "objects")
    first = await store.put(KEY, LocalFile(source))
    assert (tmp_path / "objects" / KEY).stat().st_ino == source.stat().st_ino
    again = await store.put(KEY, LocalFile(source), Put.REPLACE)
    assert again.etag == first.etag
    assert [path.name for path in (tmp_path / "objects" / INCOMING).iterdir()] == ["lock"]


async def test_etag_stays_over_a_restart(tmp_path: Path) -> None:
    """Another process sees the same ETag for the same object."""
    stored = await FolderStore(tmp_path).put(KEY, b"x")
    assert await FolderStore(tmp_path).head(KEY) == stored


async def test_etags_of_quick_replacements_differ(tmp_path: Path) -> None:
    """Replacements of equal length within one tick of the clock never share an ETag."""
    store = FolderStore(tmp_path)
    etags = [(await store.put(KEY, b"x", Put.REPLACE)).etag for _ in range(200)]
    assert len(set(etags)) == 200


async def test_links_and_strange_files_are_no_objects(tmp_path: Path) -> None:
    """A symbolic link or a pipe somebody laid into the folder is not followed, listed or waited for."""
    store = FolderStore(tmp_path)
    await store.put(Key("a/x"), b"")
    (tmp_path / "a" / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "a" / "pipe")
    for name in ("a/link", "a/pipe"):
        assert await store.head(Key(name)) is None
        with pytest.raises((ObjectNotFound, ObjectStoreError)):
            async with store.open(Key(name)):
                pass
    assert [info.key async for info in store.list("")] == ["a/x"]


async def test_a_link_is_no_body(tmp_path: Path) -> None:
    """A source that is a symbolic link or a folder is refused, and nothing is stored."""
    (tmp_path / "link").symlink_to("/etc/passwd")
    store = FolderStore(tmp_path / "objects")
    for source in (tmp_path / "link", tmp_path):
        with pytest.raises(ObjectStoreError):
            await store.put(KEY, LocalFile(source))
    assert await store.head(KEY) is None
    assert list((tmp_path / "objects" / INCOMING).iterdir()) == []


async def test_emptied_folders_go(tmp_path: Path) -> None:
    """Removing the last object below a folder removes the folder, up to the store's own."""
    store = FolderStore(tmp_path)
    await store.put(Key("staging/1/a"), b"")
    await store.put(Key("staging/2/a"), b"")
    await store.delete(Key("staging/1/a"))
    assert [path.name for path in (tmp_path / "staging").iterdir()] == ["2"]
    await store.delete(Key("staging/2/a"))
    assert {path.name for path in tmp_path.iterdir()} == {INCOMING}


async def test_an_object_is_no_folder(tmp_path: Path) -> None:
    """A key below an object's key, or above other keys, is refused with words."""
    store = FolderStore(tmp_path)
    await store.put(Key("a/b"), b"")
    with pytest.raises(ObjectStoreError, match="a folder of other objects"):
        await store.put(Key("a"), b"")
    with pytest.raises(ObjectStoreError):
        await store.put(Key("a"), b"", Put.REPLACE)
    with pytest.raises(ObjectStoreError):
        await store.put(Key("a/b/c"), b"")


async def test_cut_short_while_read(tmp_path: Path) -> None:
    """A reader learns that an object lost bytes under it, instead of taking the rest for the whole."""
    store = FolderStore(tmp_path)
    await store.put(KEY, b"x" * 1_000_000)
    async with store.open(KEY) as opened:
        await anext(opened.chunks)
        os.truncate(tmp_path / KEY, CHUNK)
        with pytest.raises(ObjectStoreError, match="cut short"):
            await anext(opened.chunks)


async def test_what_the_dead_left_is_swept(tmp_path: Path) -> None:
    """A body that a killed process never finished stays a day, however old its bytes are, and is removed then."""
    store = FolderStore(tmp_path)
    left = tmp_path / INCOMING / "left"
    left.write_bytes(b"x")
    os.utime(left, (0, 0))
    await store.ping()
    assert left.exists()
    store._sweep(left.stat().st_ctime + ABANDONED_AFTER + 1)
    assert not left.exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A path that cannot be a folder is refused at once, with its name."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ObjectStoreError, match=f"{tmp_path}/file/objects"):
        FolderStore(tmp_path / "file" / "objects")


async def test_a_folder_that_went_away(tmp_path: Path) -> None:
    """A store whose folder was removed says so instead of making an empty one."""
    store = FolderStore(tmp_path / "objects")
    (tmp_path / "objects" / INCOMING).rmdir()
    (tmp_path / "objects").rmdir()
    with pytest.raises(ObjectStoreError, match="No such file or directory"):
        await store.ping()
    with pytest.raises(ObjectStoreError, match="No such file or directory"):
        await store.put(KEY, b"")


class _Contested(FolderStore):
    """A folder in which something happens as soon as an object has its name, before that is durable."""

    def __init__(self, root: Path, meanwhile: Callable[[FolderStore, Key], None]) -> None:
        super().__init__(root)
        self._meanwhile = meanwhile

    def _place(self, temporary: Path, path: Path, key: Key, condition: Put | IfMatch) -> None:
        super()._place(temporary, path, key, condition)
        self._meanwhile(self, key)


@pytest.mark.parametrize("condition", [Put.ABSENT, Put.REPLACE])
async def test_what_is_removed_while_it_is_stored(tmp_path: Path, condition: Put) -> None:
    """It was stored, then removed: that its folder went with it is no error."""
    store = _Contested(tmp_path, lambda store, key: store._delete(key))
    assert (await store.put(KEY, b"x", condition)).length == 1
    assert await store.head(KEY) is None
    assert {path.name for path in tmp_path.iterdir()} == {INCOMING}


async def test_a_folder_that_goes_away_while_something_is_stored(tmp_path: Path) -> None:
    """Nobody is told that an object is there whose store is gone."""
    store = _Contested(tmp_path / "objects", lambda store, _: shutil.rmtree(store.root))
    with pytest.raises(ObjectStoreError, match="No such file or directory"):
        await store.put(KEY, b"x")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "belong to the account"),
        (errno.EROFS, "read-only"),
        (errno.EMFILE, "ulimit"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_errors_say_what_to_do(number: int, words: str) -> None:
    """Errors of the operating system become advice."""
    assert words in in_words(OSError(number, os.strerror(number)))
