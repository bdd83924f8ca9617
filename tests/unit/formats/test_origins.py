"""What is kept of a mirrored page, and what a page is held to."""

from __future__ import annotations

from datetime import UTC, datetime

from packaging.utils import NormalizedName

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, IndexName
from shared.formats.python.origins import (
    listed_files,
    pack_files,
    pack_seen,
    settle,
    unpack_origins,
    unpack_seen,
)
from shared.formats.python.upstream import Listed, Origin, UpstreamPage, page_of_mirror

_A, _B = FileName("hello-1.0.tar.gz"), FileName("hello-2.0.tar.gz")
_ONE, _TWO = Sha256("11" * 32), Sha256("22" * 32)


def _listed(name: FileName, sha256: Sha256) -> Listed:
    entry = f'{{"filename":"{name}","hashes":{{"sha256":"{sha256}"}}}}'.encode()
    return Listed(entry, Origin(sha256, f"https://host/{name}"), "1.0")


def _page(**files: Sha256) -> UpstreamPage:
    names = {"a": _A, "b": _B}
    listed = {names[key]: _listed(names[key], sha256) for key, sha256 in files.items()}
    return UpstreamPage(NormalizedName("hello"), 7, ("active", ""), ("1.0",), listed)


def test_what_is_kept_comes_back() -> None:
    """Every field of an origin, and each file's entry, byte for byte."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    origin = Origin(_ONE, "https://host/x", Length(7), moment, _TWO, "https://host/p")
    full = Listed(_listed(_A, _ONE).entry, origin, "1.0")
    page = UpstreamPage(NormalizedName("hello"), None, ("active", ""), (), {_A: full, _B: _listed(_B, _TWO)})
    packed = pack_files(page.files)
    assert unpack_origins(packed)[_A] == (origin, "1.0")
    assert listed_files(page_of_mirror(IndexName("root", "pypi"), page), packed) == page.files
    assert unpack_seen(pack_seen({_A: _ONE})) == {_A: _ONE}
    assert unpack_seen(pack_seen({})) == {}


def test_a_changed_digest_is_refused_and_the_old_file_stays() -> None:
    """Other files of the page are taken over."""
    settled = settle(_page(a=_TWO, b=_TWO), _page(a=_ONE).files, {})
    assert settled.changed == ((_A, _ONE, _TWO),)
    assert settled.page.files == _page(a=_ONE, b=_TWO).files


def test_a_name_keeps_its_digest_while_it_is_gone() -> None:
    """It may come back as it was, and not as another."""
    gone = settle(_page(), _page(a=_ONE).files, {})
    assert (gone.page.files, gone.seen) == ({}, {_A: _ONE})
    other = settle(_page(a=_TWO), gone.page.files, gone.seen)
    assert (other.page.files, other.seen, len(other.changed)) == ({}, {_A: _ONE}, 1)
    back = settle(_page(a=_ONE), other.page.files, other.seen)
    assert (list(back.page.files), back.seen, back.changed) == ([_A], {}, ())
