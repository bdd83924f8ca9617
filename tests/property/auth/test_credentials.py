"""Credentials of any form: who sends them is somebody we know, or nobody, and never a fault of ours."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from shared.auth.directory import AccountRecord, Directory, TokenRecord
from shared.auth.tokens import new_secret, token_sha256
from shared.auth.verifier import BadCredentials, Verifier, credentials_key
from shared.catalogue.engine import open_engine
from shared.ids import TokenId, new_uuid
from tests.support.clock import SettableClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = new_secret()

_LATIN = st.text(st.characters(codec="latin-1"), max_size=80)
"""What a header may hold."""


class _Known(Directory):
    """A directory that knows one token and an account without a password, and has no catalogue to ask."""

    def __init__(self) -> None:
        super().__init__(open_engine("postgresql+asyncpg://localhost/never-asked"))
        digest = token_sha256(SECRET)
        assert digest is not None
        self._known = {digest: TokenRecord(TokenId(new_uuid()), "root", (), NOW + timedelta(hours=1))}

    def token(self, secret_sha256: str) -> TokenRecord | None:
        return self._known.get(secret_sha256)

    async def look_again(self) -> None:
        """Find nothing new."""

    def account(self, name: str) -> AccountRecord | None:
        return AccountRecord("bot", None) if name == "bot" else None


def _basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()


_HEADERS = (
    _LATIN
    | st.builds(
        "{}{}{}".format, st.sampled_from(["Basic", "bearer", "TOKEN", "Digest"]), st.sampled_from(" \t"), _LATIN
    )
    | st.text(max_size=60).map(_basic)
    | st.builds(lambda cut, more: f"Bearer {SECRET[:cut]}{more}", st.integers(0, len(SECRET)), _LATIN)
    | st.builds(lambda user, more: _basic(f"{user}:{SECRET}{more}"), st.text(max_size=20), st.text(max_size=3))
)


@given(_HEADERS)
@example("Basic \xe9")
@example(f"Bearer pypi-{SECRET}")
@example("Basic " + "A" * 100_000)
def test_any_header_is_the_one_who_has_the_secret_or_wrong(header: str) -> None:
    """Only the whole secret, in one of its forms, is its account; memory and catalogue say the same."""
    verifier = Verifier(_Known(), SettableClock(NOW))
    quick = verifier.quick(header)
    assert credentials_key(header)
    try:
        principal = asyncio.run(verifier.verify(header))
    except BadCredentials as error:
        principal, words = None, str(error)
    else:
        words = ""
    assert principal == quick
    assert principal is None or principal.account == "root"
    assert words.isascii()
    assert SECRET not in words
