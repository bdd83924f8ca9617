"""The first ceremony begun from the command line: from key files to events, and a start that waits for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from countermark.core.ceremony.documents import PublicKeyFile, to_bytes
from deploy import bootstrapping, first_steps
from deploy.errors import LaunchError, UsageError
from deploy.open_resources import open_resources
from services.signing.keys.signers import generate_key
from shared.clock import SystemClock
from shared.errors import ServiceError
from shared.settings import Database, Queue, Settings, Signing
from shared.trust.roles import Role
from tests.support.holders import Holders


@pytest.fixture
def settings(empty_database: str, valkey_url: str, tmp_path: Path) -> Settings:
    """Settings of a deployment of profile `small` of which nothing is there but the servers."""
    return Settings(
        data=tmp_path / "data",
        database=Database(url=SecretStr(empty_database)),
        queue=Queue(url=SecretStr(valkey_url)),
        signing=Signing(profile="small"),
    )


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """The options that name the key files of three people."""
    found = []
    for one in Holders.of("root", "targets", "trust").held():
        path = tmp_path / f"{one.role}-{one.holder}.pub.json"
        path.write_bytes(to_bytes(PublicKeyFile(one.holder, one.key)))
        found.append(f"{one.role}={path}")
    return found


async def test_from_key_files_to_a_start_that_says_what_is_missing(settings: Settings, options: list[str]) -> None:
    """Before, a start says what to run; after, it starts and names each role that lacks signatures."""
    async with open_resources(settings, SystemClock()) as resources:
        await first_steps.prepare_catalogue(settings)
        with pytest.raises(LaunchError, match="trust bootstrap --holder root=FILE"):
            await first_steps.take_first_steps(resources)
        rows = await bootstrapping.bootstrap(settings, options, [])
        assert [row["role"] for row in rows] == ["root", "targets", "trust"]
        first = await first_steps.take_first_steps(resources)
    assert first.deployment.created
    assert first.waits_for == tuple(f"0 of 2 signatures of {role}" for role in ("root", "targets", "trust"))
    assert await bootstrapping.status(settings) == {"profile": "small", "missing": [*first.waits_for], "roles": []}
    with pytest.raises(ServiceError, match="was begun"):
        await bootstrapping.bootstrap(settings, options, [])


async def test_online_keys_that_are_there_are_used(settings: Settings, options: list[str], tmp_path: Path) -> None:
    """A key that is given with its URI is proven and taken; the others are generated."""
    handle = generate_key(tmp_path / "data/keys", Role.TIMESTAMP)
    path = tmp_path / "timestamp.pub.json"
    path.write_bytes(to_bytes(PublicKeyFile("", handle.key)))
    await bootstrapping.bootstrap(settings, options, [f"timestamp={path}={handle.uri}"])
    names = sorted(path.name.partition("-")[0] for path in (tmp_path / "data/keys").iterdir())
    assert names == ["bins", "registry", "snapshot", "timestamp"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("timestamp={path}=file2:elsewhere.pem", "elsewhere.pem cannot be read"),
        ("trust={path}=file2:x.pem", "trust is signed by people"),
        ("nobody={path}=file2:x.pem", "there is no role nobody"),
        ("timestamp={path}", "write it as ROLE=FILE=URI"),
        ("timestamp=/nowhere.pub.json=file2:x.pem", "cannot be read"),
    ],
)
async def test_online_keys_that_cannot_be_used(
    settings: Settings, options: list[str], tmp_path: Path, given: str, words: str
) -> None:
    """Each is refused in words, and nothing is begun: the same command without it goes through."""
    path = Path(options[0].partition("=")[2])
    with pytest.raises((UsageError, LaunchError, ServiceError), match=words):
        await bootstrapping.bootstrap(settings, options, [given.format(path=path)])
    assert len(await bootstrapping.bootstrap(settings, options, [])) == 3


async def test_one_key_for_timestamp_and_snapshot_is_refused(
    settings: Settings, options: list[str], tmp_path: Path
) -> None:
    """The two roles are signed by different keys, or a thief of one has both."""
    handle = generate_key(tmp_path / "data/keys", Role.TIMESTAMP)
    path = tmp_path / "both.pub.json"
    path.write_bytes(to_bytes(PublicKeyFile("", handle.key)))
    given = [f"{role}={path}={handle.uri}" for role in ("timestamp", "snapshot")]
    with pytest.raises(ServiceError, match="One key is given for two roles"):
        await bootstrapping.bootstrap(settings, options, given)


async def test_what_is_no_key_file_is_refused(settings: Settings, tmp_path: Path) -> None:
    """Usage errors name the option or the file, before anything is made."""
    path = tmp_path / "x.pub.json"
    path.write_bytes(b"{}")
    for option, words in (("root", "write it as ROLE=FILE"), (f"root={path}", "is no public key file")):
        with pytest.raises(UsageError, match=words):
            await bootstrapping.bootstrap(settings, [option], [])
