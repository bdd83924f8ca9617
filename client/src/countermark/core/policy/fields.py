"""A policy's document taken apart, field by field, with the place of each in every complaint. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from countermark.core.plain_yaml import Plain

MAX_ENTRIES = 64
"""Of a list inside a rule or builder."""

MAX_TEXT = 1024
"""Characters of a value."""

_PLAIN_TEXT = re.compile(r"[!-~]+\Z")
_DIGITS = re.compile(r"(0|[1-9][0-9]{0,6})\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


class InvalidPolicy(ValueError):
    """The bytes are no policy; the message says where, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping of the document, and where it stands."""

    where: str
    values: Mapping[str, Plain]

    @staticmethod
    def of(value: Plain | None, where: str, known: Collection[str]) -> Fields:
        """Return a mapping that holds none but known keys.

        Raises:
            InvalidPolicy: it is no mapping, or holds another key: a rule with a misspelt key would demand too little.
        """
        if not isinstance(value, dict):
            raise InvalidPolicy(f"{where} must be a mapping (key: value)")
        for key in value:
            if key not in known:
                raise InvalidPolicy(f"{where}: unknown key {key[:50]!r}; known are {', '.join(sorted(known))}")
        return Fields(where, value)

    def at(self, key: str) -> str:
        """Return where a field stands."""
        return f"{self.where}.{key}" if self.where else key

    def has(self, key: str) -> bool:
        """Return whether the field was written."""
        return key in self.values

    def text(self, key: str) -> str:
        """Return a field that must be one text of visible ASCII characters.

        Raises:
            InvalidPolicy: it is missing, empty, too long or holds other characters.
        """
        return _text(self.values.get(key), self.at(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a field that is a list of texts, each once; empty where it is missing.

        Raises:
            InvalidPolicy: it is no list, is an empty one or too long, or an entry is no text or comes twice.
        """
        value = self.values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_ENTRIES:
            raise InvalidPolicy(f'{self.at(key)} must be a list of 1 to {MAX_ENTRIES} texts, as ["one", "two"]')
        found = tuple(_text(entry, f"{self.at(key)}[{number}]") for number, entry in enumerate(value))
        if len(set(found)) != len(found):
            raise InvalidPolicy(f"{self.at(key)} names something twice")
        return found

    def flag(self, key: str, usual: bool) -> bool:
        """Return a field that is `true` or `false`.

        Raises:
            InvalidPolicy: it is something else.
        """
        value = self.values.get(key)
        if value is None:
            return usual
        if value not in {"true", "false"} if isinstance(value, str) else True:
            raise InvalidPolicy(f"{self.at(key)} must be true or false")
        return value == "true"

    def number(self, key: str, least: int, most: int) -> int | None:
        """Return a field that is a number in digits; None where it is missing.

        Raises:
            InvalidPolicy: it is something else, or out of bounds.
        """
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not _DIGITS.match(value) or not least <= int(value) <= most:
            raise InvalidPolicy(f"{self.at(key)} must be a number from {least} to {most}")
        return int(value)

    def named(self, key: str, most: int) -> Iterator[tuple[str, str, Plain]]:
        """Iterate over a field that maps names to things: name, where it stands, thing.

        Raises:
            InvalidPolicy: it is no mapping, has too many entries, or a name is odd.
        """
        value = self.values.get(key)
        if value is None:
            return
        if not isinstance(value, dict) or len(value) > most:
            raise InvalidPolicy(f"{self.at(key)} must be a mapping of at most {most} names")
        for name, thing in value.items():
            if not _NAME.match(name):
                raise InvalidPolicy(
                    f"{self.at(key)}: {name[:50]!r} is no name: use 1 to 64 letters, digits, '.', '_' and '-'"
                )
            yield name, f"{self.at(key)}.{name}", thing

    def checked(self, key: str, check: Callable[[str], str]) -> tuple[str, ...]:
        """Return a list of texts that each pass a check raising ValueError.

        Raises:
            InvalidPolicy: one does not.
        """
        for number, text in enumerate(found := self.texts(key)):
            try:
                check(text)
            except ValueError as error:
                raise InvalidPolicy(f"{self.at(key)}[{number}]: {error}") from error
        return found


def _text(value: Plain | None, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidPolicy(f"{where} is missing or is no text")
    if len(value) > MAX_TEXT:
        raise InvalidPolicy(f"{where} is longer than {MAX_TEXT} characters")
    # Letters of other alphabets look like these and are not: a reviewer could not tell.
    if not _PLAIN_TEXT.match(value):
        raise InvalidPolicy(f"{where}: use visible ASCII characters without spaces (found {value[:60]!a})")
    return value
