"""Documents in memory: the answers made of them."""

from __future__ import annotations

import gzip
import hashlib
import random

import brotli
import orjson
import pytest
import zstandard

from services.index.documents import IMMUTABLE_CACHING, Document, Shape, absent, page_shape, place
from services.index.rules import Coding, Media

BODY = b'{"files":[' + b'"thing",' * 500 + b"0]}"


def page(*, open_: bool = True) -> Document:
    """Return a page whose HTML is the JSON in capitals."""
    return Document(page_shape(open_, 7), BODY, ("group",), html=bytes.upper)


@pytest.mark.parametrize("media", Media)
@pytest.mark.parametrize("coding", Coding)
def test_every_variant_decodes_to_its_form(media: Media, coding: Coding) -> None:
    """A variant is its form in its coding, says so, and is accounted for."""
    document = page()
    before = document.size
    grown = document.make(media, coding)
    variant = document.variants[place(media, coding)]
    assert variant is not None
    decode = {
        Coding.IDENTITY: bytes,
        Coding.GZIP: gzip.decompress,
        Coding.BROTLI: brotli.decompress,
        Coding.ZSTD: zstandard.ZstdDecompressor().decompress,
    }
    assert decode[coding](variant.full.body) == (BODY if media is Media.JSON else BODY.upper())
    headers = dict(variant.full.headers)
    assert headers[b"content-length"] == b"%d" % len(variant.full.body)
    assert (b"content-encoding" in headers) == (coding is not Coding.IDENTITY)
    assert headers[b"x-pypi-last-serial"] == b"7"
    assert before + grown == document.weight()
    assert grown >= len(variant.full.body) - (len(BODY) if media is Media.JSON else 0)


def test_tags_tell_every_representation_apart() -> None:
    """Twelve variants have twelve tags, also where two forms are the same bytes; equal documents have equal ones."""

    def tags(document: Document) -> list[bytes]:
        for media in Media:
            for coding in Coding:
                document.make(media, coding)
        return [variant.etag for variant in document.variants if variant is not None]

    first = tags(page())
    assert len(set(first)) == len(first) == 12
    assert tags(page()) == first


def test_not_modified_repeats_what_caches_need() -> None:
    """RFC 9110 section 15.4.5: a 304 has the tag, Vary and Cache-Control of the full answer, and nothing of a body."""
    document = page(open_=False)
    document.make(Media.JSON, Coding.GZIP)
    variant = document.variants[place(Media.JSON, Coding.GZIP)]
    assert variant is not None
    full, short = dict(variant.full.headers), dict(variant.not_modified.headers)
    for name in (b"etag", b"vary", b"cache-control", b"x-pypi-last-serial"):
        assert short[name] == full[name]
    assert b"content-length" not in short
    assert b"content-encoding" not in short
    assert full[b"vary"] == b"Accept, Accept-Encoding, Authorization"
    assert full[b"cache-control"].startswith(b"private")


def test_what_does_not_shrink_goes_out_plain() -> None:
    """A few bytes are not made longer by compressing them."""
    document = Document(Shape(True, IMMUTABLE_CACHING), b"{}", ("group",))
    document.make(Media.JSON, Coding.GZIP)
    variant = document.variants[place(Media.JSON, Coding.GZIP)]
    assert variant is not None
    assert variant.full.body == b"{}"
    assert b"content-encoding" not in dict(variant.full.headers)
    assert dict(variant.full.headers)[b"vary"] == b"Accept-Encoding"


def test_absence_matches_no_tag() -> None:
    """What does not exist is 404 in every form, is stored by nobody and has no tag."""
    document = absent(True, b"no such thing\n", ("group",), until=1.0)
    assert {variant.full.status for variant in document.variants if variant is not None} == {404}
    headers = dict(document.variants[0].full.headers) if document.variants[0] else {}
    assert headers[b"cache-control"] == b"no-store"
    assert b"etag" not in headers


LARGE = orjson.dumps({"files": [hashlib.sha256(b"%d" % number).hexdigest() for number in range(2_000)]})


def large() -> Document:
    """Return a page whose bytes are kept compressed once they can be."""
    return Document(page_shape(True, 7), LARGE, ("group",), html=bytes.upper)


async def test_a_large_document_is_kept_as_its_clients_take_it() -> None:
    """Once it was asked for compressed, its own bytes are kept compressed too, and can be had as before."""
    document = large()
    grown = document.make(Media.HTML, Coding.GZIP) + document.let_go()
    assert document.kept is None
    assert document.size + grown == document.weight() < len(LARGE) * 1.3
    assert document.body == await document.text() == LARGE
    assert document.length == len(LARGE)
    assert document.let_go() == 0


@pytest.mark.parametrize("first", [(Media.JSON, Coding.GZIP), (Media.JSON, Coding.ZSTD), (Media.HTML, Coding.IDENTITY)])
def test_every_order_of_asking_gives_the_same_answers(first: tuple[Media, Coding]) -> None:
    """What was asked for before makes no difference to bytes and tags, and what is held is accounted for."""
    document = large()
    held = document.size + document.make(*first) + document.let_go()
    for media in Media:
        for coding in Coding:
            fresh = large()
            fresh.make(media, coding)
            if document.variants[place(media, coding)] is None:
                held += document.make(media, coding) + document.let_go()
            mine, other = document.variants[place(media, coding)], fresh.variants[place(media, coding)]
            assert mine is not None
            assert other is not None
            assert (mine.etag, mine.full) == (other.etag, other.full)
    bodies = {id(variant.full.body): len(variant.full.body) for variant in document.variants if variant is not None}
    assert sum(bodies.values()) < held == document.weight() < sum(bodies.values()) + 14 * 1024
    plain = document.variants[0]
    assert plain is not None
    assert document.kept is plain.full.body


def test_a_plain_answer_shares_the_bytes_of_its_document() -> None:
    """For clients that take no compression the bytes are held once, and not compressed besides."""
    document = large()
    document.make(Media.JSON, Coding.IDENTITY)
    document.make(Media.JSON, Coding.GZIP)
    assert document.let_go() == 0
    plain = document.variants[0]
    assert plain is not None
    assert plain.full.body is document.kept is LARGE
    assert document.variants[place(Media.JSON, Coding.ZSTD)] is None


def test_what_zstd_does_not_make_smaller_stays() -> None:
    """Then another coding, asked for first, does not change what is answered in zstd."""
    noise = random.Random(1).randbytes(70_000)
    document = Document(Shape(True, IMMUTABLE_CACHING), noise, ("group",))
    document.make(Media.JSON, Coding.GZIP)
    document.let_go()
    document.make(Media.JSON, Coding.ZSTD)
    made = document.variants[place(Media.JSON, Coding.ZSTD)]
    assert made is not None
    assert made.full.body == document.kept == noise
