"""The reason phrase: what becomes of a text, and when it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import ErrorKind, ServiceError
from shared.problems import text_answer
from shared.reason import EXTENSION, MAX_PHRASE, REASON, is_phrase, phrase_of


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("File already exists: a.whl is in a/b.\nUpload a new version.\n", b"File already exists: a.whl is in a/b."),
        ("\n  Later.  \nMore.", b"Later."),
        ("Caf\u00e9 \u2011 \U0001f980", b"Caf? ? ?"),
        ("a\rSet-Cookie: b\tc\0d\x7fe", b"a?Set-Cookie: b?c?d?e"),
        ("one\r\nSet-Cookie: two", b"one"),
        ("x" * MAX_PHRASE, b"x" * MAX_PHRASE),
        ("x" * (MAX_PHRASE + 1), b"x" * (MAX_PHRASE - 3) + b"..."),
        ("x" * 100_000, b"x" * (MAX_PHRASE - 3) + b"..."),
        ("", None),
        (" \r\n ", None),
    ],
)
def test_a_phrase_is_the_first_line_made_harmless(text: str, phrase: bytes | None) -> None:
    """One line, printable ASCII, bounded; what is not becomes a question mark."""
    assert phrase_of(text) == phrase
    assert phrase is None or is_phrase(phrase)


@pytest.mark.parametrize(
    "value",
    [b"", b"a\r\nb", b"a\nb", b"a\r", b"a\tb", b"a\0", b"\x7f", b"caf\xe9", b"x" * (MAX_PHRASE + 1), "a", None, 7],
)
def test_nothing_else_is_a_phrase(value: object) -> None:
    """What could end a status line, or is too long, is none, whoever says so."""
    assert not is_phrase(value)


async def _started(extensions: dict[str, Any] | None) -> dict[str, Any]:
    """Return the message that starts a text answer on a server with these extensions."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    scope = {"type": "http", "method": "POST", "headers": []} | (
        {} if extensions is None else {"extensions": extensions}
    )
    answer = text_answer(ServiceError(ErrorKind.CONFLICT, "File already exists.\nUpload a new version."))
    await answer(scope, receive, send)
    assert sent[1]["body"] == b"File already exists.\nUpload a new version.\n"
    return dict(sent[0])


async def test_a_text_answer_says_its_first_line_where_that_is_offered() -> None:
    """The server that offers the extension gets the phrase beside status and headers."""
    assert (await _started({EXTENSION: {}}))[REASON] == b"File already exists."


@pytest.mark.parametrize("extensions", [None, {}, {"http.response.debug": {}}])
async def test_another_server_gets_no_phrase(extensions: dict[str, Any] | None) -> None:
    """A server without the extension never sees a key that it does not know."""
    assert set(await _started(extensions)) <= {"type", "status", "headers"}
