"""Keys of issuers: when they are fetched, kept and not believed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.trusted_publishing.issuers import Issuers
from gateway.trusted_publishing.refusals import MintRefused
from shared.outgoing import Outgoing
from shared.outside import LOOPBACK, Outside
from tests.integration.minting.site import Site, code_of
from tests.support.ci_claims import github_job
from tests.support.ci_issuer import CiIssuer, ci_issuer, new_key, server_tls


async def test_a_new_key_is_looked_for_once_a_minute(site: Site) -> None:
    """One that the issuer just made is found; one that nobody knows makes nobody ask again and again."""
    await site.added()
    await site.minted()
    assert site.issuer.asked == ["/.well-known/openid-configuration", "/keys"]
    site.issuer.keys.append(new_key())
    code, description = code_of(await site.mint())
    assert (code, "does not publish" in description) == ("invalid-token", True)
    for _ in range(3):
        code_of(await site.mint(key=new_key()))
    assert len(site.issuer.asked) == 2


async def test_another_issuers_key_is_not_taken(site: Site, tmp_path: Path) -> None:
    """Also when it names that key's id, and when the other one is registered too."""
    await site.added()
    tls, _ = server_tls(tmp_path / "other")
    with ci_issuer(tls) as other:
        other.keys[:] = [new_key()]
        await site.added(project="mine", issuer=other.url, repository="evil/mine")
        forged = other.token(github_job() | {"iss": site.issuer.url}, kid=site.issuer.keys[0].kid)
        assert code_of(await site.exchange(forged)) == ("invalid-token", "The token's signature is not its issuer's.")
        plain = other.token(github_job() | {"iss": site.issuer.url})
        assert code_of(await site.exchange(plain))[0] == "invalid-token"
        assert other.asked == []


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/.well-known/openid-configuration", (500, {}, b"{}")),
        ("/.well-known/openid-configuration", (200, {}, b'{"issuer": "https://evil.test", "jwks_uri": "https://x"}')),
        ("/.well-known/openid-configuration", (200, {}, b"[]")),
        ("/.well-known/openid-configuration", (302, {"location": "https://192.0.2.1/"}, b"")),
        ("/.well-known/openid-configuration", (200, {}, b" " * 300_000)),
        ("/keys", (200, {}, b'{"keys": []}')),
        ("/keys", (404, {}, b"")),
        ("/keys", (200, {}, b"no json")),
    ],
)
async def test_an_issuer_that_answers_wrongly_lets_nobody_in(
    site: Site, path: str, answer: tuple[int, dict[str, str], bytes]
) -> None:
    """It is told so, and not asked by every job."""
    await site.added()
    site.issuer.answers[path] = answer
    for _ in range(3):
        code, description = code_of(await site.mint())
        assert code == "invalid-token"
        assert "cannot be fetched" in description
    assert site.issuer.asked.count("/.well-known/openid-configuration") == 1


async def test_keys_elsewhere_without_tls_are_not_fetched(site: Site) -> None:
    """The configuration may name another server, and never a scheme that anybody can read along."""
    await site.added()
    plain = site.issuer.url.replace("https", "http")
    body = f'{{"issuer": "{site.issuer.url}", "jwks_uri": "{plain}/keys"}}'.encode()
    site.issuer.answers["/.well-known/openid-configuration"] = (200, {}, body)
    assert "cannot be fetched" in code_of(await site.mint())[1]
    assert site.issuer.asked == ["/.well-known/openid-configuration"]


@dataclass(slots=True)
class Ticks:
    """A monotonic clock that tests move."""

    at: float = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.at


async def test_keys_are_used_for_a_while(issuer: CiIssuer) -> None:
    """A new one is found after a minute, one that was withdrawn is good for ten; a failure takes no known ones away."""
    ticks = Ticks()
    async with Outgoing(Outside(networks=LOOPBACK)) as outgoing:
        issuers = Issuers(outgoing, ticks)
        first, second = issuer.keys[0], new_key()
        await issuers.key(issuer.url, str(first.kid))
        issuer.keys[:] = [second]
        ticks.at += 59
        with pytest.raises(MintRefused, match="does not publish"):
            await issuers.key(issuer.url, str(second.kid))
        await issuers.key(issuer.url, str(first.kid))
        assert issuer.asked.count("/keys") == 1
        issuer.answers["/keys"] = (500, {}, b"")
        ticks.at += 1
        with pytest.raises(MintRefused, match="does not publish"):
            await issuers.key(issuer.url, str(second.kid))
        await issuers.key(issuer.url, str(first.kid))
        del issuer.answers["/keys"]
        ticks.at += 60
        await issuers.key(issuer.url, str(second.kid))
        with pytest.raises(MintRefused, match="does not publish"):
            await issuers.key(issuer.url, str(first.kid))
        issuer.answers["/keys"] = (500, {}, b"")
        ticks.at += 600
        for _ in range(3):
            with pytest.raises(MintRefused, match="cannot be fetched"):
                await issuers.key(issuer.url, str(second.kid))
        assert issuer.asked.count("/keys") == 4
        del issuer.answers["/keys"]
        ticks.at += 10
        await asyncio.gather(*(issuers.key(issuer.url, str(second.kid)) for _ in range(5)))
        assert issuer.asked.count("/keys") == 5


async def test_a_private_address_is_not_asked(issuer: CiIssuer) -> None:
    """An issuer whose name leads inside is silent, unless the operator allows its network."""
    async with Outgoing() as outgoing:
        with pytest.raises(MintRefused, match="cannot be fetched"):
            await Issuers(outgoing).key(issuer.url, "x")
    assert issuer.asked == []
