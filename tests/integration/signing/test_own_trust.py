"""What trust signs for attestations: from the first moment, by own keys too, and never what nobody can read."""

from pathlib import Path

import pytest
from sqlalchemy import select

from countermark.core.attestations.trust_root import public_root
from countermark.core.ceremony.changes import Change
from services.signing.ceremonies.events import Ceremonies, Proposal
from services.signing.ceremonies.own_trust import set_trust_targets, trust_targets
from services.signing.ceremonies.public_root import public_root as installed_root
from services.signing.publication.usecases import Publisher
from shared.catalogue.tables import Audit, SigningEvent
from shared.errors import ErrorKind, ServiceError
from shared.jobs.messages import PublishIndex
from shared.resources import Resources
from tests.integration.signing.ceremony_deployment import Deployment
from tests.integration.signing.changes import enqueue
from tests.support.builds import policy
from tests.support.factories import make_index
from tests.support.sigstore.instance import Instance
from tests.support.tuf_reader import TreeReader

ROOT, POLICY = "trusted_root.json", "trust/policy.yaml"


def test_the_public_root_is_read_without_the_library() -> None:
    """The bytes are those that the library itself would verify by."""
    assert installed_root() == public_root()


async def test_a_new_deployment_signs_the_public_root_and_no_policy(resources: Resources) -> None:
    """Nothing is demanded of anybody, and public attestations verify."""
    version, targets = await trust_targets(resources)
    assert (version, targets) == (1, {ROOT: installed_root()})
    material = await resources.trusted.material()
    assert (material.policy, dict(material.roots)) == (None, {ROOT: installed_root()})


async def test_own_keys_set_and_unset_targets_and_clients_get_them(resources: Resources, tmp_path: Path) -> None:
    """Each change is a version of trust that the next publication lays, and a ceremony in the audit."""
    index = await make_index(resources.engine)
    await enqueue(resources, PublishIndex(index.id))
    root = Instance().trusted_root()
    assert await set_trust_targets(resources, {ROOT: root, POLICY: policy()}, (), "ours") == 2
    await Publisher(resources).publish(index.id)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "cache")
    assert (reader.target(ROOT), reader.target(POLICY)) == (root, policy())
    assert await set_trust_targets(resources, {}, (POLICY,), "no demand any more") == 3
    await Publisher(resources).publish(index.id)
    reader = TreeReader(tmp_path / "public/indexes/root/stable", tmp_path / "other")
    assert (reader.target(ROOT), reader.target(POLICY)) == (root, None)
    async with resources.engine.connect() as connection:
        query = select(Audit.action).where(Audit.actor == "operator").order_by(Audit.id)
        assert list(await connection.scalars(query)) == ["trust.propose", "trust.sign", "trust.finalise"] * 2


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ({POLICY: b"schema: policy/v2\n"}, "is no policy: schema must be"),
        ({POLICY: b'a: [1\n"'}, "is no policy"),
        ({ROOT: b"{}"}, "trusted_root.json is no Sigstore trust root"),
        ({"trust/company.trusted_root.json": b"[1]"}, "trust/company.trusted_root.json is no Sigstore trust root"),
        (
            {POLICY: policy().replace(b"trusted_root.json", b"trust/ours.json")},
            "names the root private, trust/ours.json",
        ),
        ({"elsewhere/policy.yaml": b"x"}, "trust signs no target"),
    ],
)
async def test_what_nobody_can_judge_by_is_refused_before_it_is_signed(
    resources: Resources, targets: dict[str, bytes], words: str
) -> None:
    """The words say which target and why; trust stays as it was, and no event is left open."""
    with pytest.raises(ServiceError, match=words) as refused:
        await set_trust_targets(resources, targets, (), "a mistake")
    assert refused.value.kind is ErrorKind.INVALID
    assert (await trust_targets(resources))[0] == 1
    async with resources.engine.connect() as connection:
        assert list(await connection.scalars(select(SigningEvent.id).where(SigningEvent.outcome.is_(None)))) == []


async def test_a_root_that_the_policy_needs_is_not_unset(resources: Resources) -> None:
    """Without it the policy would refuse everything: that is said before anybody signs."""
    await set_trust_targets(resources, {ROOT: Instance().trusted_root(), POLICY: policy()}, (), "ours")
    with pytest.raises(ServiceError, match="which trust does not sign"):
        await set_trust_targets(resources, {}, (ROOT,), "tidying")


async def test_where_people_hold_the_keys_it_takes_their_ceremony(deployment: Deployment) -> None:
    """The refusal says which command; what they propose is looked at as well, before they sign and after."""
    await deployment.finish()
    with pytest.raises(ServiceError, match="countermark ceremony propose trust") as refused:
        await set_trust_targets(deployment.resources, {POLICY: policy()}, (), "alone")
    assert refused.value.kind is ErrorKind.CONFLICT
    ceremonies = Ceremonies(deployment.resources)
    with pytest.raises(ServiceError, match="is no policy"):
        await ceremonies.propose("root", Proposal("trust", Change(targets={POLICY: b"nothing"}), "a mistake", {}))
    good = Change(targets={ROOT: Instance().trusted_root(), POLICY: policy()})
    view = await ceremonies.propose("root", Proposal("trust", good, "the first policy", {}))
    assert view.event.version == 2
