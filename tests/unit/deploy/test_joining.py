"""An answer's head goes out with what follows at once, and alone when nothing does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from deploy.joining import Joined


class Wire(asyncio.Transport):
    """A connection that notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Note a write."""
        assert not self.closed
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Note one write of several pieces."""
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        """Return whether it was closed."""
        return self.closed

    def close(self) -> None:
        """Close it."""
        self.closed = True


def begun() -> tuple[Wire, Joined]:
    """Return a connection on which an answer begins."""
    wire = Wire()
    joined = Joined(wire, asyncio.get_running_loop())
    joined.begin()
    return wire, joined


async def test_head_and_body_are_one_write() -> None:
    """Both go out as soon as both are there; what follows goes out as it comes, and nothing twice."""
    wire, joined = begun()
    joined.write(b"head ")
    joined.write(b"body")
    assert wire.writes == [b"head body"]
    joined.write(b"more")
    await asyncio.sleep(0)
    assert wire.writes == [b"head body", b"more"]


async def test_a_head_waits_for_one_turn_of_the_loop() -> None:
    """A body that takes its time does not hold up its head."""
    wire, joined = begun()
    joined.write(b"head")
    assert wire.writes == []
    await asyncio.sleep(0)
    joined.write(b"body")
    assert wire.writes == [b"head", b"body"]


async def test_each_answer_begins_anew() -> None:
    """What was held of one answer is out before the next begins."""
    wire, joined = begun()
    joined.write(b"only a head")
    joined.flush()
    joined.begin()
    joined.write(b"head ")
    joined.write(b"body")
    joined.flush()
    assert wire.writes == [b"only a head", b"head body"]


async def test_what_waits_is_sent_before_the_end() -> None:
    """To close sends the head of an answer that has no more."""
    wire, joined = begun()
    joined.write(b"head")
    joined.close()
    await asyncio.sleep(0)
    assert (wire.writes, joined.is_closing()) == ([b"head"], True)


async def test_nothing_is_sent_to_who_is_gone() -> None:
    """A head that waits when the connection is lost is dropped."""
    wire, joined = begun()
    joined.write(b"head")
    wire.closed = True
    await asyncio.sleep(0)
    assert wire.writes == []
