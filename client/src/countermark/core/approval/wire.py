"""SSH's binary form: strings with their length before them, and whole numbers. Strict and bounded.

Source: RFC 4251 section 5.
"""

from __future__ import annotations


class MalformedWire(ValueError):
    """The bytes are not written in SSH's form; the message says what is wrong."""


def wire_string(data: bytes) -> bytes:
    """Return `data` with its length before it."""
    return len(data).to_bytes(4, "big") + data


def wire_number(value: int) -> bytes:
    """Return a positive number as `mpint`: the fewest bytes, the first one below 128."""
    return wire_string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


class WireReader:
    """Reads one thing after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes.

        Raises:
            MalformedWire: there are fewer.
        """
        if count > len(self._data) - self._at:
            raise MalformedWire("it ends too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def word(self) -> int:
        """Return the next 32 bits as a number."""
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        """Return the next string."""
        return self.take(self.word())

    def number(self) -> int:
        """Return the next `mpint`, which must be positive and written in the fewest bytes."""
        data = self.string()
        value = int.from_bytes(data, "big")
        if not value or wire_number(value)[4:] != data:
            raise MalformedWire("a number is not positive, or not written in the fewest bytes")
        return value

    def end(self) -> None:
        """Return when nothing is left.

        Raises:
            MalformedWire: something is.
        """
        if self._at != len(self._data):
            raise MalformedWire("something follows its end")
