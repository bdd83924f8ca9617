"""Which claims make a token that of a registered publisher."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.trusted_publishing.claims import faults_of, is_found, kept_of, name_of, pins_of, subjects_of
from gateway.trusted_publishing.identities import (
    ISSUERS,
    Identity,
    InvalidIdentity,
    Pipeline,
    parse_identity,
    parse_pins,
)
from tests.support.ci_claims import github_job, gitlab_job

WORKFLOW = "acme/thing/.github/workflows/release.yml"
OTHER = "acme/thing/.github/workflows/other.yml@refs/tags/v1"
PINNED = {"repository_id": "4711", "repository_owner_id": "42"}


def hub(**more: Any) -> Identity:
    """Return a publisher of GitHub."""
    return parse_identity("github", None, {"repository": "acme/thing", "workflow": "release.yml"} | more)


def lab(issuer: str | None = None, **more: Any) -> Identity:
    """Return a publisher of GitLab."""
    return parse_identity("gitlab", issuer, {"repository": "acme/thing", "workflow": ".gitlab-ci.yml"} | more)


def own(**claims: Any) -> Identity:
    """Return a publisher of an issuer of its own."""
    return parse_identity("generic", "https://ci.acme.test", {"claims": {"sub": "job:1"} | claims})


GOOD: list[tuple[str, Identity, dict[str, Any]]] = [
    ("plain", hub(), github_job()),
    ("written in capitals", hub(repository="Acme/THING"), github_job()),
    ("capitals in the token", hub(), github_job("Acme/Thing")),
    ("by the commit", hub(), github_job(job_workflow_ref=f"{WORKFLOW}@{'5' * 40}")),
    ("no ref", hub(), github_job(ref="", job_workflow_ref=f"{WORKFLOW}@{'5' * 40}")),
    ("environment in other case", hub(environment="Release"), github_job(environment="release")),
    ("environment not demanded", hub(), github_job(environment="release")),
    ("ref", hub(ref="refs/tags/v1"), github_job()),
    ("ref that begins so", hub(ref="refs/tags/*"), github_job()),
    ("protected", hub(ref_protected=True), github_job()),
    ("runner", hub(runner_environment="github-hosted"), github_job()),
    ("called from another file of the repository", hub(), github_job(workflow_ref=OTHER)),
    (
        "reusable workflow",
        hub(called_workflow="shared/ci/.github/workflows/build.yml@refs/tags/v2"),
        github_job(job_workflow_ref="shared/ci/.github/workflows/build.yml@refs/tags/v2"),
    ),
    ("claims that are not known", hub(), github_job(newer="claim")),
    ("gitlab", lab(), gitlab_job()),
    ("gitlab by the commit", lab(), gitlab_job(ci_config_ref_uri=f"gitlab.com/acme/thing//.gitlab-ci.yml@{'6' * 40}")),
    ("gitlab of a company", lab("https://git.acme.test"), gitlab_job(host="git.acme.test")),
    ("gitlab environment", lab(environment="release"), gitlab_job(environment="release")),
    ("gitlab ref", lab(ref="refs/tags/*"), gitlab_job()),
    ("nested groups", lab(repository="acme/deep/thing"), gitlab_job("acme/deep/thing")),
    ("generic", own(), {"sub": "job:1"}),
    ("generic with more", own(protected=True, number=7), {"sub": "job:1", "protected": True, "number": 7}),
]


@pytest.mark.parametrize(("identity", "claims"), [case[1:] for case in GOOD], ids=[case[0] for case in GOOD])
def test_the_publishers_own_token_is_its_own(identity: Identity, claims: dict[str, Any]) -> None:
    """Nothing differs, also where ids are pinned to what the token says."""
    assert identity.subject in subjects_of(claims)
    assert faults_of(identity, {}, claims) == []
    assert faults_of(identity, pins_of(identity, claims), claims) == []


BAD: list[tuple[str, Identity, dict[str, Any], str]] = [
    ("another workflow", hub(), github_job(job_workflow_ref=OTHER), "job_workflow_ref"),
    ("the workflow of a fork", hub(), github_job(job_workflow_ref=f"evil/{WORKFLOW}@refs/tags/v1"), "job_workflow_ref"),
    ("the workflow of another ref", hub(), github_job(job_workflow_ref=f"{WORKFLOW}@refs/heads/x"), "job_workflow_ref"),
    ("a longer name", hub(workflow="lease.yml"), github_job(), "job_workflow_ref"),
    ("neither ref nor commit", hub(), github_job(ref="", job_workflow_ref=f"{WORKFLOW}@"), "job_workflow_ref"),
    (
        "a reusable workflow that was not registered",
        hub(),
        github_job(job_workflow_ref="shared/ci/.github/workflows/release.yml@refs/tags/v1"),
        "job_workflow_ref",
    ),
    (
        "a reusable workflow at another ref",
        hub(called_workflow="shared/ci/.github/workflows/build.yml@refs/tags/v2"),
        github_job(job_workflow_ref="shared/ci/.github/workflows/build.yml@refs/heads/main"),
        "job_workflow_ref",
    ),
    (
        "a reusable workflow called by another one",
        hub(called_workflow="shared/ci/.github/workflows/build.yml@refs/tags/v2"),
        github_job(job_workflow_ref="shared/ci/.github/workflows/build.yml@refs/tags/v2", workflow_ref=OTHER),
        "workflow_ref",
    ),
    ("another owner", hub(), github_job(repository_owner="evil"), "repository_owner"),
    ("what strangers propose", hub(), github_job(event_name="pull_request_target"), "event_name"),
    ("another environment", hub(environment="release"), github_job(environment="test"), "environment"),
    ("no environment", hub(environment="release"), github_job(), "environment"),
    ("another ref", hub(ref="refs/heads/main"), github_job(), "ref"),
    ("a branch instead of a tag", hub(ref="refs/tags/*"), github_job(ref="refs/heads/tags/", sha="5" * 40), "ref"),
    ("not protected", hub(ref_protected=True), github_job(ref_protected="false"), "ref_protected"),
    ("protected in another type", hub(ref_protected=True), github_job(ref_protected=True), "ref_protected"),
    ("another runner", hub(runner_environment="github-hosted"), github_job(runner_environment="self-hosted"), "runner"),
    ("made anew", hub(), github_job(repository_id="4712"), "repository_id"),
    ("owner made anew", hub(), github_job(repository_owner_id="43"), "repository_owner_id"),
    ("gitlab of another file", lab(workflow="ci/other.yml"), gitlab_job(), "ci_config_ref_uri"),
    ("gitlab of another host", lab("https://git.acme.test"), gitlab_job(), "ci_config_ref_uri"),
    (
        "gitlab with the file of another project",
        lab(),
        gitlab_job(ci_config_ref_uri="gitlab.com/evil/thing//.gitlab-ci.yml@refs/tags/v1"),
        "ci_config_ref_uri",
    ),
    ("gitlab about another project", lab(), gitlab_job(sub="project_path:acme/thing2:ref_type:tag:ref:v1"), "sub"),
    ("gitlab of another namespace", lab(), gitlab_job(namespace_path="evil"), "namespace_path"),
    ("gitlab environment in other case", lab(environment="release"), gitlab_job(environment="Release"), "environment"),
    ("gitlab made anew", lab(), gitlab_job(project_id="1"), "project_id"),
    ("gitlab namespace made anew", lab(), gitlab_job(namespace_id="1"), "namespace_id"),
    ("generic claim", own(tenant="a"), {"sub": "job:1", "tenant": "b"}, "tenant"),
    ("generic claim that is missing", own(tenant="a"), {"sub": "job:1"}, "tenant"),
    ("1 is not true", own(protected=True), {"sub": "job:1", "protected": 1}, "protected"),
    ("a list that holds it", own(tenant="a"), {"sub": "job:1", "tenant": ["a"]}, "tenant"),
    *[
        (f"without {name}", hub(), github_job() | {name: None}, name)
        for name in ("repository_owner", "repository_id", "repository_owner_id", "workflow_ref", "job_workflow_ref")
    ],
    *[(f"without {name}", hub(), github_job(**{name: ""}), name) for name in ("event_name", "sha", "run_id")],
    *[
        (f"gitlab without {name}", lab(), gitlab_job() | {name: None}, name)
        for name in (
            "project_id",
            "namespace_id",
            "namespace_path",
            "ci_config_ref_uri",
            "sha",
            "pipeline_id",
            "job_id",
        )
    ],
]


@pytest.mark.parametrize(
    ("identity", "claims", "named"), [case[1:] for case in BAD], ids=[f"{n} {case[0]}" for n, case in enumerate(BAD)]
)
def test_a_claim_that_differs_is_named(identity: Identity, claims: dict[str, Any], named: str) -> None:
    """Whatever else holds; and of the registration nothing is told."""
    pinned = PINNED if identity.kind == "github" else {"project_id": "4712", "namespace_id": "43"}
    faults = faults_of(identity, pinned if identity.kind != "generic" else {}, claims)
    assert any(f"the claim {named}" in fault for fault in faults), faults
    assert "lease.yml" not in "".join(faults).replace("release.yml", "")


@pytest.mark.parametrize(
    ("identity", "claims"),
    [
        (hub(), github_job("acme/thing2")),
        (hub(), github_job("evil/thing")),
        (hub(repository="acme/king"), github_job(repository="acme/\u212aing")),
        (hub(), github_job() | {"repository": ["acme/thing"]}),
        (hub(), {"sub": "x"}),
        (lab(), gitlab_job("acme/thing2")),
        (own(), {"sub": "job:2"}),
        (own(), {"sub": ["job:1"]}),
        (own(), {}),
    ],
)
def test_a_token_of_another_repository_does_not_find_it(identity: Identity, claims: dict[str, Any]) -> None:
    """Neither the search nor the rules take it; a letter that is lower case for another one is not that one."""
    assert not is_found(identity, claims)
    assert faults_of(identity, {}, claims)


def test_what_is_kept_says_who_and_from_which_commit() -> None:
    """Claims of the run are kept, others are not; the name is one that no account can have."""
    claims = github_job(iss=ISSUERS["github"], secret="x")
    kept = kept_of(hub(), claims)
    assert {kept["sha"], kept["ref"], kept["run_id"]} == {"5" * 40, "refs/tags/v1", "99"}
    assert "secret" not in kept
    assert name_of(hub(), claims) == "github:acme/thing"
    assert name_of(own(), {"sub": "job:1"}) == "oidc:ci.acme.test/job:1"
    assert kept_of(own(tenant="a"), {"iss": "i", "sub": "job:1", "tenant": "a", "x": 1}) == {
        "iss": "i",
        "sub": "job:1",
        "tenant": "a",
    }


def test_the_environment_outweighs_everything_else() -> None:
    """Of two that match, the one that names the environment demands more."""
    strict = hub(ref="refs/tags/*", ref_protected=True, runner_environment="github-hosted")
    assert hub(environment="release").specificity > strict.specificity > hub().specificity


REFUSED: list[tuple[str, str | None, dict[str, Any]]] = [
    ("other", None, {}),
    ("github", None, {"repository": "acme", "workflow": "release.yml"}),
    ("github", None, {"repository": "acme/thing/more", "workflow": "release.yml"}),
    ("github", None, {"repository": "acme/*", "workflow": "release.yml"}),
    ("github", None, {"repository": "acme/thing\n", "workflow": "release.yml"}),
    ("github", None, {"repository": "acme/thing"}),
    ("github", None, {"repository": "acme/thing", "workflow": ".github/workflows/release.yml"}),
    ("github", None, {"repository": "acme/thing", "workflow": "release"}),
    ("github", None, {"repository": "acme/thing", "workflow": "release.yml", "environment": ""}),
    ("github", None, {"repository": "acme/thing", "workflow": "release.yml", "ref": "main"}),
    ("github", None, {"repository": "acme/thing", "workflow": "release.yml", "ref_protected": "yes"}),
    ("github", None, {"repository": "acme/thing", "workflow": "release.yml", "called_workflow": "build.yml"}),
    ("github", "http://ghe.acme.test", {"repository": "acme/thing", "workflow": "release.yml"}),
    ("github", "https://gitlab.com", {"repository": "acme/thing", "workflow": "release.yml"}),
    ("github", "https://user@ghe.acme.test", {"repository": "acme/thing", "workflow": "release.yml"}),
    ("gitlab", None, {"repository": "thing", "workflow": ".gitlab-ci.yml"}),
    ("gitlab", None, {"repository": "acme/thing", "workflow": "/ci.yml"}),
    (
        "gitlab",
        None,
        {"repository": "a/b", "workflow": "c.yml", "called_workflow": "a/b/.github/workflows/c.yml@d"},
    ),
    ("generic", None, {"claims": {"sub": "x"}}),
    ("generic", "https://token.actions.githubusercontent.com", {"claims": {"sub": "x"}}),
    ("generic", "https://ci.acme.test", {}),
    ("generic", "https://ci.acme.test", {"claims": {"email": "x"}}),
    ("generic", "https://ci.acme.test", {"claims": {"sub": ""}}),
    ("generic", "https://ci.acme.test", {"claims": {"sub": 1}}),
    ("generic", "https://ci.acme.test", {"claims": {"sub": "x", "more": ["y"]}}),
    ("generic", "https://ci.acme.test", {"claims": {"sub": "x" * 600}}),
    ("generic", "https://ci.acme.test", {"claims": {"sub": "x", **{f"c{n}": "y" for n in range(16)}}}),
    ("generic", "https://ci.acme.test", {"claims": {"sub": "x", **{f"c{n}": "y" * 500 for n in range(4)}}}),
]


@pytest.mark.parametrize(("kind", "issuer", "given"), REFUSED)
def test_what_could_never_match_is_not_registered(kind: str, issuer: str | None, given: dict[str, Any]) -> None:
    """Nor what would match more than one thing, nor an issuer whose keys could not be trusted."""
    with pytest.raises(InvalidIdentity):
        parse_identity(kind, issuer, given)


@pytest.mark.parametrize("identity", [hub(), hub(environment="e", ref="refs/tags/*", ref_protected=True), lab(), own()])
def test_an_identity_is_read_as_it_was_written(identity: Identity) -> None:
    """What the catalogue keeps is the identity again."""
    assert parse_identity(identity.kind, identity.issuer, identity.to_document()) == identity


def test_ids_are_numbers_of_a_repository() -> None:
    """By the names of the claims that hold them; those that were not given are left out."""
    assert parse_pins("github", {"repository_id": "1", "owner_id": None}) == {"repository_id": "1"}
    assert parse_pins("gitlab", {"repository_id": "1", "owner_id": "2"}) == {"project_id": "1", "namespace_id": "2"}
    assert parse_pins("generic", {"repository_id": None, "owner_id": None}) == {}
    for kind, given in (("github", {"repository_id": "x"}), ("generic", {"repository_id": "1"})):
        with pytest.raises(InvalidIdentity):
            parse_pins(kind, given)


def test_a_pipeline_is_one_of_its_kind() -> None:
    """GitHub's and GitLab's are told apart by their kind."""
    assert isinstance(hub(), Pipeline)
    assert hub() != lab()
