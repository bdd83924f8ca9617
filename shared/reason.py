"""The reason phrase of an answer: the one sentence that upload tools show when they do not show the body.

ASGI has no place for it, so our servers offer an extension of their own: where a request's scope has `EXTENSION`, the
message `http.response.start` may carry a phrase under the key `REASON`. Everything in between hands it on untouched.

Source: contract python-index section 2.2 (item 6); RFC 9112 section 4; ASGI, "Extensions".
"""

from __future__ import annotations

import re
from typing import Final

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

EXTENSION: Final = "countermark.reason"
"""Name of the extension in a scope."""

REASON: Final = "reason"
"""Key of the phrase in the message that starts an answer."""

MAX_PHRASE: Final = 200
"""Bytes of a phrase."""

_PHRASE = re.compile(rb"[\x20-\x7e]{1,%d}" % MAX_PHRASE)
_OTHER = re.compile(r"[^\x20-\x7e]")


def is_phrase(value: object) -> bool:
    """Return whether something may stand in a status line: printable ASCII on one line, at most `MAX_PHRASE` bytes."""
    return isinstance(value, bytes) and _PHRASE.fullmatch(value) is not None


def phrase_of(text: str) -> bytes | None:
    """Return the first line of a text as a phrase, cut where it is too long; None when nothing is left of it."""
    line = _OTHER.sub("?", text.strip().partition("\n")[0].strip())
    if len(line) > MAX_PHRASE:
        line = line[: MAX_PHRASE - 3].rstrip() + "..."
    return line.encode("ascii") or None


def offered(scope: Scope) -> bool:
    """Return whether the server takes a phrase for the answer to this request."""
    return EXTENSION in (scope.get("extensions") or {})


class PhrasedResponse(Response):
    """A text whose first line is also the reason phrase, where the server takes one."""

    media_type = "text/plain"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        phrase = phrase_of(bytes(self.body).decode("ascii", "replace")) if offered(scope) else None

        async def phrased(message: Message) -> None:
            if phrase is not None and message["type"] == "http.response.start":
                message = {**message, REASON: phrase}
            await send(message)

        await super().__call__(scope, receive, phrased)
