"""The server judges files by a process that it keeps warm, with what trust signs and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES
from countermark.core.attestations.judgements import JudgedFile
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import sha256_of
from shared.attesting.judging import MAX_BUNDLES, Judging
from shared.attesting.processes import Verifying
from shared.errors import ErrorKind, ServiceError
from shared.settings import Attestations
from tests.support.builds import Forge, body, policy
from tests.support.sigstore.tokens import github

NAME, CONTENT, NOW = "widget-1.0-py3-none-any.whl", b"wheel", 1_800_000_000
FILE = JudgedFile("root/stable", "widget", "1.0", NAME, sha256_of(CONTENT))


@pytest.fixture(scope="module")
def forge() -> Forge:
    """A forge."""
    return Forge()


@pytest.fixture
async def judging() -> AsyncIterator[Judging]:
    """Judges by processes that end with the test."""
    async with Verifying() as verifying:
        yield Judging(Attestations(), verifying)


async def test_build_provenance_that_the_policy_wants_passes(judging: Judging, forge: Forge) -> None:
    """The verdict names the builder, and what was proven comes back with the report."""
    bundle = body(forge.built(NAME, CONTENT))
    found = await judging.judge(forge.material(), FILE, bundle, [], NOW, None)
    assert (found.exit_code, found.verdict.builder, found.verdict.source) == (
        0,
        "release",
        "https://github.com/acme/thing",
    )
    [report] = found.bundles
    assert report.verified is not None
    assert report.bundle_sha256 == sha256_of(bundle)
    assert judging.evaluate(forge.material(), FILE, report.evidence, NOW, None) == found.verdict


@pytest.mark.parametrize(
    ("what", "code"),
    [("fork", 60), ("branch", 60), ("other file", 52), ("foreign instance", 60), ("cut", 51), ("nothing", 62)],
)
async def test_what_does_not_satisfy_is_refused_with_its_code(
    judging: Judging, forge: Forge, what: str, code: int
) -> None:
    """Each failure has the exit code of the trust contract."""
    made = {
        "fork": body(forge.built(NAME, CONTENT, github("evil/thing"))),
        "branch": body(forge.built(NAME, CONTENT, github(ref="refs/heads/main"))),
        "other file": body(forge.built("widget-2.0-py3-none-any.whl", CONTENT)),
        "foreign instance": body(Forge().built(NAME, CONTENT)),
        "cut": body(forge.built(NAME, CONTENT))[:-40],
        "nothing": None,
    }[what]
    found = await judging.judge(forge.material(), FILE, made, [], NOW, None)
    assert (found.exit_code, found.passed) == (code, False), found.reason
    assert found.reason


async def test_without_a_policy_nothing_is_demanded_and_bundles_are_verified(judging: Judging, forge: Forge) -> None:
    """A test double's root counts only where a policy names it as one."""
    nothing = TrustMaterial(None, forge.material().roots, 1)
    assert (await judging.judge(nothing, FILE, None, [], NOW, None)).passed
    bundle = body(forge.built(NAME, CONTENT))
    assert (await judging.judge(nothing, FILE, bundle, [], NOW, None)).exit_code == 60


async def test_continuity_wants_provenance_once_there_was_some(judging: Judging, forge: Forge) -> None:
    """A file without any is judged without a process."""
    material = forge.material(policy(more="    attested: false\n    continuity: true\n"))
    codes = [(await judging.judge(material, FILE, None, [], NOW, had)).exit_code for had in (None, False, True)]
    assert codes == [0, 0, 62]


async def test_a_policy_that_cannot_be_read_takes_nothing(judging: Judging, forge: Forge) -> None:
    """With bundles and without the answer is the same refusal."""
    material = replace(forge.material(), policy=b"schema: nonsense\n")
    for bundle in (None, body(forge.built(NAME, CONTENT))):
        found = await judging.judge(material, FILE, bundle, [], NOW, None)
        assert not found.passed
        assert "policy cannot be read" in found.verdict.reason


async def test_too_much_is_not_asked(judging: Judging, forge: Forge) -> None:
    """Bounds hold before any process is asked."""
    for others in ([b"{}"] * (MAX_BUNDLES + 1), [b" " * (MAX_BUNDLE_BYTES + 1)]):
        with pytest.raises(ServiceError) as refused:
            await judging.judge(forge.material(), FILE, None, others, NOW, None)
        assert refused.value.kind is ErrorKind.TOO_LARGE
