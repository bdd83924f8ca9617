"""Compressed tars: what is read, and that each way out of the top folder or past the reader is refused."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from shared.formats.archive import DEFAULT_LIMITS, Contents, Limits
from shared.formats.tar_archive import begins_as_tar, read_tar_gz
from tests.support.archives import TarEntry, payload, raw_tar, raw_tar_gz, sealed, tar_block, zip_of

Read = Callable[..., Contents]

_FILE = TarEntry("top/a.txt", b"data")
_END = bytes(1024)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that reads bytes as a tar.gz; members named `top/keep*` are wanted up to 100 bytes."""

    def reader(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Contents:
        path = tmp_path / "archive"
        path.write_bytes(data)
        return read_tar_gz(path, lambda member: 100 if member.startswith("top/keep") else 0, limits)

    return reader


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_members_are_read_in_every_usual_form(read: Read, tar_format: int) -> None:
    """POSIX, GNU and pax tars give lengths, folders and wanted bytes, long names included."""
    long_name = "top/" + "/".join(["d" * 40] * (2 if tar_format == tarfile.USTAR_FORMAT else 5)) + "/long.txt"
    entries = [
        TarEntry("top", kind=tarfile.DIRTYPE),
        TarEntry("top/keep.txt", b"hello"),
        TarEntry(long_name, payload(600_000)),
        TarEntry("top/link", kind=tarfile.SYMTYPE, link="keep.txt"),
        TarEntry("top/hard", kind=tarfile.LNKTYPE, link="top/keep.txt"),
    ]
    contents = read(raw_tar_gz(entries, tar_format=tar_format))
    assert contents.issues == ()
    assert contents.complete
    assert contents.kept == {"top/keep.txt": b"hello"}
    assert contents.folders == {"top"}
    assert {path: member.length for path, member in contents.members.items()} == {"top/keep.txt": 5, long_name: 600_000}


def test_names_may_be_unicode(read: Read) -> None:
    """A name beyond ASCII comes from its pax header, or as UTF-8 from a GNU one."""
    for tar_format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        contents = read(raw_tar_gz([TarEntry("top/\u00e9.txt", b"x")], tar_format=tar_format))
        assert (contents.issues, list(contents.members)) == ((), ["top/\u00e9.txt"])


def test_a_global_comment_is_fine(read: Read) -> None:
    """What `git archive` writes at the start names no member."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", pax_headers={"comment": "0123"}) as archive:
        archive.addfile(tarfile.TarInfo("top/a"), io.BytesIO())
    assert read(gzip.compress(buffer.getvalue())).issues == ()


def test_other_pax_records_may_be_anything(read: Read) -> None:
    """Extended attributes need not be text; they name nothing."""
    assert read(_gz(_pax(_record(b"SCHILY.xattr.x", b"\xff\0")), _A, _END)).issues == ()


def _gz(*blocks: bytes) -> bytes:
    return gzip.compress(b"".join(blocks), mtime=0)


def _extended(kind: bytes, data: bytes) -> bytes:
    return tar_block(b"x", len(data), kind) + data + bytes(-len(data) % 512)


def _record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    while len(b"%d" % length) + len(key) + len(value) + 3 != length:
        length = len(b"%d" % length) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (length, key, value)


def _pax(*records: bytes) -> bytes:
    return _extended(b"x", b"".join(records))


def _damaged(block: bytes, at: int, value: bytes) -> bytes:
    changed = bytearray(block)
    changed[at : at + len(value)] = value
    return sealed(changed)


_A = tar_block(b"top/a")
_TAR = raw_tar([_FILE])
_GZ = gzip.compress(_TAR, mtime=0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "not compressed by gzip", id="empty file"),
        pytest.param(b"hello", "not compressed by gzip", id="text"),
        pytest.param(_TAR, "not compressed by gzip", id="plain tar"),
        pytest.param(_GZ[:-1], "gzip data is cut short", id="truncated"),
        pytest.param(_GZ[:12], "cut short", id="truncated early"),
        pytest.param(b"\x1f\x8b", "cut short", id="gzip magic alone"),
        pytest.param(_GZ[:-8] + bytes(8), "gzip data is damaged", id="wrong checksum"),
        pytest.param(_GZ + b"x", "after the end of the gzip data", id="bytes after"),
        pytest.param(_GZ + _GZ, "after the end of the gzip data", id="two gzip members"),
        pytest.param(_gz(b"hello"), "cut short", id="no block"),
        pytest.param(_gz(b"x" * 512), "not a tar", id="no tar"),
        pytest.param(_gz(_A), "no end mark", id="no end"),
        pytest.param(_gz(tar_block(b"top/a", 600), bytes(512)), "inside a member", id="cut inside a member"),
        pytest.param(_gz(tar_block(b"top/keep", 90), bytes(80)), "inside a member", id="cut inside a wanted member"),
        pytest.param(_gz(_A, _END, _A, _END), "after the end of the tar", id="second tar"),
        pytest.param(_gz(_A, b"x" * 512), "a header is not valid", id="garbage between members"),
        pytest.param(_gz(tar_block(b"top/a", magic=bytes(8)), _END), "kind of tar", id="ancient header"),
        pytest.param(
            _gz(_damaged(tar_block(b"top/a", magic=b"ustar  \0"), 345, b"1"), _END), "kind of tar", id="GNU fields"
        ),
        pytest.param(_gz(_damaged(_A, 124, b"1_0"), _END), "number that is not valid", id="size with underscore"),
        pytest.param(_gz(_damaged(_A, 124, b"-1"), _END), "number that is not valid", id="negative size"),
        pytest.param(_gz(_damaged(_A, 124, b"\xff" * 12), _END), "number that is not valid", id="negative binary size"),
        pytest.param(_gz(_damaged(_A, 124, b"\x80" + b"\x7f" * 11), _END), "cut short", id="enormous size"),
        pytest.param(_gz(_A, _damaged(_A, 136, b"\1"), _END), "number that is not valid", id="time no number"),
        pytest.param(_gz(tar_block(b"top/a", 512, b"5"), _A, _END), "though it is no file", id="folder with bytes"),
        pytest.param(_gz(tar_block(b"top/a", 512, b"2"), _A, _END), "though it is no file", id="link with bytes"),
        pytest.param(_gz(tar_block(b"top/a", 0, b"3"), _END), "is a device", id="character device"),
        pytest.param(_gz(tar_block(b"top/a", 0, b"4"), _END), "is a device", id="block device"),
        pytest.param(_gz(tar_block(b"top/a", 0, b"6"), _END), "is a FIFO", id="FIFO"),
        pytest.param(_gz(tar_block(b"top/a", 0, b"S"), _END), "is a sparse file", id="GNU sparse"),
        pytest.param(_gz(_pax(_record(b"GNU.sparse.major", b"1")), _A, _END), "sparse file", id="pax sparse"),
        pytest.param(_gz(tar_block(b"top/a", 0, b"V"), _END), "unknown type 'V'", id="volume label"),
        pytest.param(_gz(tar_block(b"top/a\xff"), _END), "not UTF-8", id="bad UTF-8"),
        pytest.param(_gz(tar_block(b"top/a/"), _END), "shortest", id="file with a slash"),
        pytest.param(_gz(_pax(_record(b"size", b"4")), _A, _END), "different sizes", id="two sizes"),
        pytest.param(_gz(_pax(_record(b"size", b"x")), _A, _END), "different sizes", id="pax size not a number"),
        pytest.param(_gz(_pax(_record(b"path", b"a"), _record(b"path", b"b")), _A, _END), "twice", id="two pax paths"),
        pytest.param(_gz(_pax(), _pax(), _A, _END), "two extended headers", id="two pax headers"),
        pytest.param(_gz(_extended(b"L", b"a\0"), _extended(b"L", b"b\0"), _A, _END), "two long names", id="two names"),
        pytest.param(_gz(_extended(b"K", b"a\0"), _extended(b"K", b"b\0"), _A, _END), "two long names", id="two links"),
        pytest.param(
            _gz(tar_block(b"x", 6, b"L") + b"top/a b\0" + bytes(504), _A, _END),
            "behind its end",
            id="GNU name that goes on in the padding",
        ),
        pytest.param(
            _gz(_pax(_record(b"path", b"top/x")), _extended(b"L", b"top/y\0"), _A, _END),
            "named by two",
            id="pax and GNU",
        ),
        pytest.param(_gz(_pax(_record(b"hdrcharset", b"BINARY")), _A, _END), "not UTF-8", id="binary pax"),
        pytest.param(_gz(_pax(_record(b"path", b"\xff")), _A, _END), "not UTF-8", id="pax name not UTF-8"),
        pytest.param(_gz(_extended(b"x", b"99 a=b\n"), _A, _END), "malformed", id="pax length too long"),
        pytest.param(_gz(_extended(b"x", b"6 a=bc\n"), _A, _END), "malformed", id="pax length too short"),
        pytest.param(_gz(_extended(b"x", b"x a=b\n"), _A, _END), "malformed", id="pax length not a number"),
        pytest.param(_gz(_extended(b"x", b"0 a=b\n"), _A, _END), "malformed", id="pax length zero"),
        pytest.param(_gz(_extended(b"g", _record(b"path", b"x")), _A, _END), "global extended", id="global path"),
        pytest.param(_gz(_pax(), _END), "belongs to no member", id="pax header at the end"),
        pytest.param(_gz(tar_block(b"x", 70_000, b"x"), bytes(70_144)), "longer than 65536", id="huge pax header"),
        pytest.param(_gz(tar_block(b"x", 1 << 32, b"L")), "longer than 65536", id="huge GNU name"),
        pytest.param(_gz(_END), "empty", id="no members"),
    ],
)
def test_ambiguous_and_damaged_tars_are_refused(read: Read, data: bytes, words: str) -> None:
    """Each fault is one sentence that names it."""
    issues = read(data).issues
    assert any(words in issue for issue in issues), issues
    assert all(issue.isascii() and "\n" not in issue for issue in issues)


def _link(path: str, link: str, kind: bytes = tarfile.SYMTYPE) -> TarEntry:
    return TarEntry(path, kind=kind, link=link)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([TarEntry("top/../../evil")], "'..'"),
        ([TarEntry("/etc/passwd")], "absolute"),
        ([TarEntry("top/a\\b")], "backslash"),
        ([TarEntry("./top/a")], "shortest"),
        ([_FILE, TarEntry("other/a")], "one top folder"),
        ([TarEntry("a.txt")], "beside the top folder"),
        ([_FILE, _FILE], "there twice"),
        ([_FILE, TarEntry("top/A.TXT")], "fall on each other"),
        ([_FILE, TarEntry("top/a.txt/b")], "no folder"),
        ([_link("top/l", "../outside")], "leads out"),
        ([_link("top/d/l", "../../outside")], "leads out"),
        ([_link("top/l", "/etc/passwd")], "leads out"),
        ([_link("top/l", "a/../../..")], "leads out"),
        ([_link("top/l", "a\\b")], "leads out"),
        ([_link("top/l", "")], "leads out"),
        ([_link("top", "elsewhere")], "leads out"),
        ([_link("top/d", "x"), TarEntry("top/d/evil")], "no folder"),
        ([TarEntry("top/d/x"), _link("top/d", "x")], "there twice"),
        ([_link("top/h", "/etc/passwd", tarfile.LNKTYPE)], "earlier file"),
        ([_link("top/h", "top/a.txt", tarfile.LNKTYPE), _FILE], "earlier file"),
        ([_link("top/l", "a"), _link("top/h", "top/l", tarfile.LNKTYPE)], "earlier file"),
    ],
)
def test_nothing_leads_out_of_the_top_folder(read: Read, entries: Sequence[TarEntry], words: str) -> None:
    """Paths, links, links through links and members below links stay inside, or are refused."""
    issues = read(raw_tar_gz(entries)).issues
    assert any(words in issue for issue in issues), issues


@pytest.mark.parametrize("link", ["b", "./b", "../b", "../e/f", "b/c/"])
def test_links_inside_the_top_folder_are_taken(read: Read, link: str) -> None:
    """A link may lead anywhere below the top folder, also to nothing."""
    assert read(raw_tar_gz([_link("top/d/l", link)])).issues == ()


def test_all_faults_are_told_at_once(read: Read) -> None:
    """Faults of several members come in one answer."""
    entries = [TarEntry("top/../a"), TarEntry("top/f", kind=tarfile.FIFOTYPE), _link("top/l", "/x")]
    assert len(read(raw_tar_gz(entries)).issues) == 3


def test_a_bomb_is_refused_while_it_streams(read: Read) -> None:
    """Inflating stops soon after the ratio is passed, not at the end of the bomb."""
    bomb = zlib.compressobj(9, wbits=31)
    data = b"".join([bomb.compress(tar_block(b"top/a", 1 << 33)), *(bomb.compress(bytes(1 << 20)) for _ in range(32))])
    issues = read(data + bomb.flush(), Limits(ratio_floor_bytes=1 << 20)).issues
    assert issues == ("The archive unpacks to more than 1048576 bytes and more than 50 times its size.",)


def test_members_and_bytes_are_limited(read: Read) -> None:
    """Count, unpacked size and kept bytes end the reading, which is then known to be incomplete."""
    many = raw_tar_gz([TarEntry(f"top/keep{n}", payload(90, n)) for n in range(5)])
    for limits, words in [
        (Limits(entries=4), "more than 4 members"),
        (Limits(unpacked_bytes=1000), "more than 1000 bytes"),
        (Limits(kept_bytes=200), "longer than 200 bytes"),
    ]:
        contents = read(many, limits)
        assert words in contents.issues[0]
        assert not contents.complete


def test_a_wanted_member_that_is_too_long_is_a_fault(read: Read) -> None:
    """Bytes are kept only up to what was asked for."""
    contents = read(raw_tar_gz([TarEntry("top/keep", bytes(101))]))
    assert contents.issues == ("'top/keep' is longer than 100 bytes.",)
    assert contents.kept == {}


def test_a_polyglot_of_tar_and_zip_is_refused(read: Read) -> None:
    """A zip inside the gzip header would be unpacked by programs that look from the end."""
    inner = zip_of({"evil": b"x"})
    stored = zlib.compressobj(0, wbits=31)
    data = stored.compress(raw_tar([TarEntry("top/a", inner)])) + stored.flush()
    assert "The file is a tar and a zip at once." in read(data).issues


def test_a_tar_is_known_by_its_first_block() -> None:
    """Only a whole block with a right checksum counts as a tar's beginning."""
    assert begins_as_tar(_A)
    assert not begins_as_tar(_A[:-1])
    assert not begins_as_tar(bytes(512))
    assert not begins_as_tar(b"x" * 512)
