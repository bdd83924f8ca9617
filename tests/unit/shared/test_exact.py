"""Memory of bytes that are kept."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import orjson
import pytest

from shared.exact import exact
from shared.zstd import pack, unpack

_MANY = 100
_DOCUMENT = exact(orjson.dumps([{"filename": f"a-{number}.whl", "size": number} for number in range(1_000)]))
_OBJECT = 64
"""Bytes that an object takes beside its content, at the most."""


@pytest.fixture
def traced() -> Iterator[None]:
    """Count what is allocated."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def held(make: Callable[[], bytes]) -> float:
    """Return the bytes of memory that each of many results holds."""
    make()
    before = tracemalloc.get_traced_memory()[0]
    made = [make() for _ in range(_MANY)]
    return (tracemalloc.get_traced_memory()[0] - before) / len(made)


@pytest.mark.usefixtures("traced")
def test_json_is_copied_out_of_the_buffer_it_was_written_into() -> None:
    """A short text holds what it needs, and has not changed."""
    assert held(lambda: exact(orjson.dumps({"a": 1}))) <= len(b'{"a":1}') + _OBJECT
    assert exact(orjson.dumps({"a": 1})) == b'{"a":1}'


@pytest.mark.usefixtures("traced")
def test_what_is_packed_holds_its_packed_length() -> None:
    """A document that is kept compressed does not hold the memory it had uncompressed."""
    packed = pack(_DOCUMENT)
    assert len(packed) < len(_DOCUMENT) / 4
    assert held(lambda: pack(_DOCUMENT)) <= len(packed) + _OBJECT
    assert unpack(packed) == _DOCUMENT
