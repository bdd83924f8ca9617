"""The key of registry replaced where the server has it: people who hold targets name the new one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import Key

from countermark.core.ceremony.changes import Change
from services.signing.ceremonies import rotating
from services.signing.ceremonies.events import Ceremonies, Proposal
from services.signing.ceremonies.rotating import RotationRefused
from services.signing.ceremonies.trust_root import CeremonyNeeded, ensure_registry
from services.signing.keys.handles import load_handles
from services.signing.keys.signers import generate_key
from services.signing.publication.usecases import Publisher
from services.signing.upkeep.rebinning import rebin
from services.signing.upkeep.renewing import renew_due
from shared.catalogue import trust
from shared.errors import ServiceError
from shared.resources import Resources
from shared.trust.metadata import verify_with
from shared.trust.roles import Role
from tests.integration.signing import changes
from tests.integration.signing.ceremony_deployment import Deployment
from tests.support.holders import in_profile
from tests.support.tuf_reader import TreeReader

SECOND = timedelta(seconds=1)
FIRST = "pointers/first/_simple.json"


@pytest.fixture
async def small(deployment: Deployment) -> Deployment:
    """A deployment of profile `small` with a published file."""
    await deployment.finish()
    await changes.upload(deployment.resources, deployment.index, "first-1.0-py3-none-any.whl", b"first")
    await Publisher(deployment.resources).publish(deployment.index.id)
    return deployment


async def signed_by(resources: Resources) -> tuple[int, str]:
    """Return the version of the newest registry, and its content."""
    async with resources.engine.connect() as connection:
        file = (await trust.newest_trust_files(connection))["registry"]
    return file.version, file.content.decode()


async def begun(deployment: Deployment) -> rotating.Rotation:
    """Bring a new key of registry into use, and sign registries with both."""
    rotation = await rotating.begin(deployment.resources, Role.REGISTRY)
    deployment.clock.advance(SECOND)
    await rotating.sign_registries(deployment.resources, rotation)
    return rotation


async def test_from_one_command_to_the_end(small: Deployment, tmp_path: Path) -> None:
    """The command signs registry with both keys and opens the event of targets; when people have signed it, it goes on.
    Clients of before and new ones find everything after each step."""
    resources, publisher = small.resources, Publisher(small.resources)
    warm, caches = TreeReader(small.tree, tmp_path / "warm"), iter(range(100))

    def all_find() -> bool:
        cold = TreeReader(small.tree, tmp_path / f"cold{next(caches)}")
        return all(reader.target(FIRST) is not None for reader in (warm, cold))

    assert all_find()
    rotation = await begun(small)
    version, content = await signed_by(resources)
    assert version == 2
    assert all(key.keyid in content for key in (rotation.old, rotation.new))
    await rotating.sign_registries(resources, rotation)
    assert (await signed_by(resources))[0] == 2, "nothing is signed twice"
    said = set()
    for _ in range(2):
        with pytest.raises(CeremonyNeeded, match=r"signing event .* of targets waits for its key holders") as raised:
            await rotating.hand_over(resources, rotation)
        said.add(str(raised.value))
    assert len(said) == 1, "one event"
    await publisher.publish(small.index.id)
    assert all_find()

    event = (await small.admin.open())["targets"]
    await small.plain.submit(event, small.key("targets", "alice"), small.key("targets", "bob"))
    await small.admin.finalise(event)
    again = await rotating.begin(resources, Role.REGISTRY)
    assert again == rotation
    assert (await rotating.hand_over(resources, again)).version == 2
    assert [one.name for one in await rotating.behind(resources, again)] == [small.index.name]
    with pytest.raises(RotationRefused, match="does not name the new key yet"):
        await rotating.retire(resources, again)
    assert all_find()
    await publisher.publish(small.index.id)
    assert await rotating.behind(resources, again) == []
    assert all_find()
    await rotating.retire(resources, again)
    assert [one.key.keyid for one in await load_handles(resources) if one.role is Role.REGISTRY] == [rotation.new.keyid]

    await ensure_registry(resources, 4)
    assert rotation.old.keyid not in (await signed_by(resources))[1], "the old key signs nothing any more"
    await rebin(resources, small.index.id)
    await publisher.publish(small.index.id)
    assert all_find()


async def test_what_is_signed_in_between_is_signed_with_both(small: Deployment) -> None:
    """A renewal and another count of bins, while people have not signed yet: clients know one of the two keys."""
    resources = small.resources
    rotation = await begun(small)
    await ensure_registry(resources, 4)
    small.clock.advance(timedelta(days=155))
    assert "registry" in await renew_due(resources)
    version, content = await signed_by(resources)
    assert version > 3
    assert all(key.keyid in content for key in (rotation.old, rotation.new))
    async with resources.engine.connect() as connection:
        files = await trust.newest_trust_files(connection)
    verify_with(files["targets"].content, "registry", files["registry"].content)


async def test_a_ceremony_does_not_get_ahead(small: Deployment) -> None:
    """Targets that name the new key alone are not finalised before registry is signed with it."""
    rotation = await rotating.begin(small.resources, Role.REGISTRY)
    new = Key.from_dict(rotation.new.keyid, dict(rotation.new.public_key))
    change = Change(add=(("registry", new),), remove=(("registry", rotation.old.keyid),))
    ceremonies = Ceremonies(small.resources)
    await ceremonies.propose("alice", Proposal("targets", change, "too early", {}))
    event = (await small.admin.open())["targets"]
    await small.plain.submit(event, small.key("targets", "alice"), small.key("targets", "bob"))
    with pytest.raises(ServiceError, match="clients would refuse"):
        await ceremonies.finalise("alice", (await ceremonies.events("open", None, 1))[0].event.id)
    small.clock.advance(SECOND)
    await rotating.sign_registries(small.resources, rotation)
    await small.admin.finalise(event)


async def test_a_new_key_is_given_up(small: Deployment) -> None:
    """Before people have signed: what was signed with both stays good, and the next is signed with the old one."""
    rotation = await begun(small)
    assert (await rotating.abandon(small.resources, Role.REGISTRY)).keyid == rotation.new.keyid
    await ensure_registry(small.resources, 4)
    _, content = await signed_by(small.resources)
    assert rotation.old.keyid in content
    assert rotation.new.keyid not in content


async def test_where_people_hold_it_the_ceremony_is_named(small: Deployment) -> None:
    """In the profile production, and of roles that the server never has."""
    production = in_profile(small.resources, "production")
    words = "countermark ceremony propose targets --add registry=FILE --remove registry=KEYID"
    with pytest.raises(RotationRefused, match=words):
        await rotating.begin(production, Role.REGISTRY)
    with pytest.raises(RotationRefused, match="countermark ceremony propose root --add root=FILE"):
        await rotating.begin(small.resources, Role.ROOT)


async def test_a_given_key_is_taken(small: Deployment) -> None:
    """Made elsewhere, as for the other roles."""
    folder = small.resources.settings.signing.keys or small.resources.settings.data / "keys"
    given = generate_key(folder, Role.REGISTRY)
    rotation = await rotating.begin(small.resources, Role.REGISTRY, given)
    assert rotation.new.keyid == given.key.keyid
