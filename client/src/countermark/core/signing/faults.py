"""The one error of keys."""

from __future__ import annotations

from typing import ClassVar

from countermark.core.errors import ClientError

_LONGEST = 300
"""Characters of another library's message that are repeated."""


class KeyUnusable(ClientError):
    """A key cannot be loaded or made, or does not sign as its public half says.

    The message names the role and key id where they are known, and what to do; never a secret. `passing` when it may
    be over in a moment without anybody's doing.
    """

    link = "key"
    passing: ClassVar[bool] = False
    default_remedy = "Correct the key's URI, or put its private half where the URI says."

    def about(self, name: str) -> KeyUnusable:
        """Return the same with the key's name in front."""
        return type(self)(f"{name} cannot be used: {self.problem}", self.remedy)


class TokenAway(KeyUnusable):
    """There is no such token now, which may be over without anybody's doing."""

    passing = True
    default_remedy = "Connect the token and see that its service runs; it is used again by itself."


def words(error: BaseException) -> str:
    """Return what another library said, on one line and bounded."""
    said = " ".join(str(error).split()).rstrip(".") or "no further words"
    return f"{type(error).__name__}: {said}"[:_LONGEST]
