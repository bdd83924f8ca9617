"""From Authorization headers to principals."""

import base64
from datetime import UTC, datetime, timedelta

import pytest

from shared.auth.directory import AccountRecord, Directory, TokenRecord
from shared.auth.passwords import hash_password
from shared.auth.principal import NOBODY, Verb
from shared.auth.tokens import LOGIN_PREFIX, new_secret, token_sha256
from shared.auth.verifier import BadCredentials, Verifier
from shared.catalogue.engine import open_engine
from shared.ids import TokenId, new_uuid
from tests.support.clock import SettableClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = new_secret()
PASSWORD = "correct horse battery"


class KnownDirectory(Directory):
    """A directory that knows one token and one account, and has no catalogue to ask."""

    def __init__(self) -> None:
        super().__init__(open_engine("postgresql+asyncpg://localhost/never-asked"))
        self.looks = 0
        digest = token_sha256(SECRET)
        assert digest is not None
        self.tokens = {digest: TokenRecord(TokenId(new_uuid()), "root", (), NOW + timedelta(hours=1))}
        self.accounts = {"ci": AccountRecord("ci", hash_password(PASSWORD)), "bot": AccountRecord("bot", None)}

    def token(self, secret_sha256: str) -> TokenRecord | None:
        """Return the one token."""
        return self.tokens.get(secret_sha256)

    async def look_again(self) -> None:
        """Count a look at the catalogue."""
        self.looks += 1

    def account(self, name: str) -> AccountRecord | None:
        """Return an account."""
        return self.accounts.get(name)


def basic(user: str, password: str) -> str:
    """Return a Basic header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {SECRET}",
        f"bearer pypi-{SECRET}",
        f"token {SECRET}",
        basic("__token__", SECRET),
        basic("anybody", SECRET),
        basic("", f"pypi-{SECRET}"),
    ],
)
async def test_a_token_is_taken_in_every_form_clients_send(header: str) -> None:
    """The user name does not matter, the scheme's case neither, nor the prefix that CI actions look for."""
    verifier = Verifier(KnownDirectory(), SettableClock(NOW))
    quick = verifier.quick(header)
    assert quick is not None
    assert quick.account == "root"
    assert await verifier.verify(header) == quick


async def test_no_header_is_nobody() -> None:
    """Without credentials there is no error: what is open stays open."""
    verifier = Verifier(KnownDirectory(), SettableClock(NOW))
    assert verifier.quick(None) is NOBODY
    assert await verifier.verify(None) is NOBODY


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        "Bearer",
        "Bearer x",
        "Digest abc",
        f"Bearer {SECRET[:-1]}",
        f"Bearer {new_secret()}",
        basic("ci", "wrong"),
        basic("nobody", PASSWORD),
        basic("bot", ""),
        basic("ci", "x" * 5000),
        "Bearer " + "x" * 100_000,
    ],
)
async def test_everything_else_is_bad_credentials(header: str) -> None:
    """Malformed, unknown, mistyped, oversized: one class of error, never a crash and never somebody."""
    verifier = Verifier(KnownDirectory(), SettableClock(NOW))
    assert verifier.quick(header) is None
    with pytest.raises(BadCredentials):
        await verifier.verify(header)


async def test_a_mistyped_token_is_refused_without_a_look_at_the_catalogue() -> None:
    """The checksum keeps garbage from causing queries."""
    directory = KnownDirectory()
    with pytest.raises(BadCredentials):
        await Verifier(directory, SettableClock(NOW)).verify(basic("x", SECRET[:-1] + "!"))
    assert directory.looks == 0


async def test_a_token_ends_when_it_expires() -> None:
    """Valid until its time, refused from then on, with words."""
    clock = SettableClock(NOW + timedelta(minutes=59))
    verifier = Verifier(KnownDirectory(), clock)
    assert verifier.quick(f"Bearer {SECRET}") is not None
    clock.advance(timedelta(minutes=1))
    assert verifier.quick(f"Bearer {SECRET}") is None
    with pytest.raises(BadCredentials, match="expired"):
        await verifier.verify(f"Bearer {SECRET}")


async def test_a_password_that_matched_is_remembered_until_it_is_changed() -> None:
    """The second request costs no hashing; a new hash of the account ends what was remembered."""
    directory = KnownDirectory()
    verifier = Verifier(directory, SettableClock(NOW))
    principal = await verifier.verify(basic("ci", PASSWORD))
    assert (principal.account, principal.scopes) == ("ci", None)
    assert await verifier.verify(basic("ci", PASSWORD)) == principal
    directory.accounts["ci"] = AccountRecord("ci", hash_password("another password"))
    with pytest.raises(BadCredentials):
        await verifier.verify(basic("ci", PASSWORD))


def test_every_verb_of_the_grant_table_is_a_verb() -> None:
    """The table's check constraint and the code name the same six."""
    assert {verb.value for verb in Verb} == {"read", "upload", "test-result", "remove", "approve", "configure"}


async def test_a_logins_token_is_good_with_its_own_users_name_alone() -> None:
    """In Basic; with another name, or as Bearer, it is wrong, and known for a login that is none."""
    directory, secret = KnownDirectory(), new_secret(LOGIN_PREFIX)
    digest = token_sha256(secret)
    assert digest is not None
    directory.tokens[digest] = TokenRecord(TokenId(new_uuid()), "alice", (), NOW + timedelta(hours=10), login=True)
    verifier = Verifier(directory, SettableClock(NOW))
    quick = verifier.quick(basic("alice", secret))
    assert quick is not None
    assert quick.account == "alice"
    for header in (basic("bob", secret), basic("", secret), f"Bearer {secret}"):
        assert verifier.quick(header) is None
        with pytest.raises(BadCredentials) as caught:
            await verifier.verify(header)
        assert caught.value.login
    with pytest.raises(BadCredentials) as other:
        await verifier.verify(basic("x", new_secret()))
    assert not other.value.login


async def test_an_open_devpi_counts_no_tries() -> None:
    """There is nothing to guess; elsewhere the eleventh wrong password is not looked at."""
    for no_password, looked_at in ((hash_password(""), True), (None, False)):
        directory = KnownDirectory()
        directory.no_password = no_password
        verifier = Verifier(directory, SettableClock(NOW))
        for _ in range(10):
            with pytest.raises(BadCredentials):
                await verifier.verify(basic("ci", "wrong"))
        if looked_at:
            assert (await verifier.verify(basic("ci", PASSWORD))).account == "ci"
        else:
            with pytest.raises(BadCredentials, match="too many"):
                await verifier.verify(basic("ci", PASSWORD))
