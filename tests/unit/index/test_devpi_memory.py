"""Documents in memory: true to their rows, and bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.index.devpi_memory import MOST_OF_ONE, DocumentMemory


def test_a_document_belongs_to_its_rows() -> None:
    """Other rows, or another question, are another document."""
    memory = DocumentMemory()
    memory.keep("a", "1", b"one")
    assert (memory.find("a", "1"), memory.find("a", "2"), memory.find("b", "1")) == (b"one", None, None)
    memory.keep("a", "2", b"two")
    assert (memory.find("a", "1"), memory.find("a", "2")) == (None, b"two")


def test_memory_is_bounded() -> None:
    """What was asked for longest ago goes; one that is too large never comes in, and takes its elder away."""
    memory = DocumentMemory(most=5000)
    for name in "abc":
        memory.keep(name, "1", bytes(1000))
        memory.find("a", "1")
    assert (memory.find("a", "1"), memory.find("b", "1")) == (bytes(1000), None)
    assert memory.size <= 5000
    memory.keep("a", "2", bytes(6000))
    assert memory.find("a", "2") is None
    assert memory.find("a", "1") is None
    for name in "abc":
        memory.keep(name, "3", b"")
    assert memory.size == 3 * 1024


async def _parts(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_what_is_passed_on_is_kept_when_it_is_whole() -> None:
    """Not what was broken off, nor what is too large."""
    memory = DocumentMemory()
    assert [part async for part in memory.passed_on("a", "1", _parts(b"on", b"e"))] == [b"on", b"e"]
    assert memory.find("a", "1") == b"one"
    broken = memory.passed_on("b", "1", _parts(b"on", b"e"))
    assert await anext(broken) == b"on"
    await broken.aclose()  # type: ignore[attr-defined]
    assert memory.find("b", "1") is None
    large = bytes(MOST_OF_ONE)
    assert sum([len(part) async for part in memory.passed_on("c", "1", _parts(large, b"x"))]) == MOST_OF_ONE + 1
    assert memory.find("c", "1") is None
