"""What a policy does not take any more is refused on read, and held where nobody whom it names signed. ADR 0044."""

from __future__ import annotations

import time

from tests.integration.reading.guarded import BIG, CONTENT, SMALL, Guarded
from tests.support.builds import Forge, body, policy
from tests.support.sigstore.tokens import github


def sign(guarded: Guarded, forge: Forge, content: bytes) -> None:
    """Let the trust role sign another policy; the index's next publication names it."""
    sim = guarded.signed.sim
    sim.deployment.trust_targets |= {"trusted_root.json": forge.instance.trusted_root(), "trust/policy.yaml": content}
    sim.deployment.offline_version += 1
    sim._offline = sim.deployment.offline_roles()


async def test_policy_that_comes_later(guarded: Guarded, forge: Forge) -> None:
    """A policy that is signed later is asked at the next publication: what it does not take is refused with the rule,
    held by nobody, told once, and served again as soon as the policy takes it."""
    assert (await guarded.get(SMALL)).status_code == 200
    attested = "thing-3.0.tar.gz"
    guarded.files[attested] = await guarded.signed.add(attested, b"3", body(forge.built(attested, b"3")))
    for strict in (policy("thing"), policy("thing", more="    min_level: 2\n")):
        sign(guarded, forge, strict)
        await guarded.signed.publish()
        await guarded.reading.news()
        for name in (SMALL, BIG, SMALL, SMALL):
            answer = await guarded.get(name)
            problem = answer.json()
            assert (answer.status_code, problem["step"], problem["exit_code"]) == (403, "policy", "62")
            assert problem["rule"] == "'thing'"
            assert "not held: it is served again as soon as the policy takes it" in problem["detail"]
        assert (await guarded.get(attested)).content == b"3"
    await guarded.signed.tamper("update tuf_head set timestamp = '{}'")
    assert (await guarded.get(SMALL)).status_code == 503
    await guarded.signed.publish()
    await guarded.reading.news()
    assert (await guarded.get(SMALL)).status_code == 403
    metrics = guarded.reading.resources.metrics.text().decode()
    assert 'countermark_reads_refused_total{fault="policy",step="policy"} 4.0' in metrics, "per file and policy"
    assert 'countermark_reads_refused_total{fault="index",step="timestamp"} 1.0' in metrics
    assert await guarded.asked_to_hold() == []
    sign(guarded, forge, policy("other"))
    await guarded.signed.publish()
    await guarded.reading.news()
    assert (await guarded.get(SMALL)).content == CONTENT


async def test_age(guarded: Guarded, forge: Forge) -> None:
    """An attestation that grows older than the policy takes refuses its file, without a hold."""
    attested = "thing-3.0.tar.gz"
    bundle = body(forge.built(attested, b"3", at=int(time.time()) - 20 * 86_400))
    guarded.files[attested] = await guarded.signed.add(attested, b"3", bundle)
    for days, status in ((30, 200), (10, 403)):
        aged = f'    log:\n      rekor: ["v1"]\n      max_age_days: {days}\n'
        sign(guarded, forge, policy("thing", more=aged))
        await guarded.signed.publish()
        await guarded.reading.news()
        answer = await guarded.get(attested)
        assert answer.status_code == status, answer.text
    assert (answer.json()["exit_code"], "age of" in answer.json()["detail"]) == ("62", True)
    assert await guarded.asked_to_hold() == []


async def test_identity_of_nobody(guarded: Guarded, forge: Forge) -> None:
    """Whoever signed is none of the policy's builders (60): that is no matter of what the policy wants, and held."""
    foreign = "thing-4.0.tar.gz"
    bundle = body(forge.built(foreign, b"4", github("evil/fork")))
    guarded.files[foreign] = await guarded.signed.add(foreign, b"4", bundle)
    sign(guarded, forge, policy("thing"))
    await guarded.signed.publish()
    await guarded.reading.news()
    answer = await guarded.get(foreign)
    assert (answer.status_code, answer.json()["exit_code"]) == (403, "60"), answer.text
    assert len(await guarded.asked_to_hold()) == 1


async def test_policy_that_nobody_can_read(guarded: Guarded) -> None:
    """A signed policy that this version cannot read takes no file, as for clients; no file is held for it."""
    sim = guarded.signed.sim
    sim.deployment.trust_targets |= {"trust/policy.yaml": b'schema: "policy/v9"\n'}
    sim._offline = sim.deployment.offline_roles()
    await guarded.signed.publish()
    await guarded.reading.news()
    answer = await guarded.get(SMALL)
    assert (answer.status_code, answer.json()["step"], answer.json()["exit_code"]) == (503, "policy", "62"), answer.text
    assert await guarded.asked_to_hold() == []
