"""Where build provenance of each build type says what it says; what its parameters are called. Pure data.

Source: slsa-framework/slsa, spec/build-provenance.md ("externalParameters": verifiers refuse what they do not know);
the documents that the build types' addresses lead to; trust contract section 4 ("Normal form").
"""

from __future__ import annotations

from dataclasses import dataclass

GITHUB_WORKFLOW = (
    "https://actions.github.io/buildtypes/workflow/v1",
    "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1",
)
GITLAB_JOB = "https://docs.gitlab.com/ci/pipeline_security/slsa/provenance_v1"
_GITLAB_RUNNER = ("https://gitlab.com/gitlab-org/gitlab-runner/-/blob/", "/PROVENANCE.md")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of build says things.

    Attributes:
        parameters: the external parameters that it knows.
        workflow: what may stand below `workflow` there.
        sources: where the repository stands, below externalParameters; likewise `refs` and `entries`.
        digests: under which names a commit may stand in a digest set.
        lists_variables: other external parameters of it are names of variables, and texts.
        lists_materials: its v0.2 names the source among the materials, first.
    """

    parameters: frozenset[str]
    workflow: frozenset[str] = frozenset(["repository", "ref", "path"])
    sources: tuple[tuple[str, ...], ...] = (("workflow", "repository"), ("repository",), ("source",))
    refs: tuple[tuple[str, ...], ...] = (("workflow", "ref"), ("ref",))
    entries: tuple[tuple[str, ...], ...] = (("workflow", "path"), ("path",), ("entryPoint",))
    digests: tuple[str, ...] = ("gitCommit", "sha1")
    lists_variables: bool = False
    lists_materials: bool = True


_GITHUB = Dialect(
    frozenset(["workflow", "inputs", "vars"]),
    sources=(("workflow", "repository"),),
    refs=(("workflow", "ref"),),
    entries=(("workflow", "path"),),
)
_GITLAB = Dialect(
    frozenset(["source", "entryPoint", "variables"]),
    workflow=frozenset(),
    sources=(("source",),),
    # A variable may be called that too, and stands beside the others.
    refs=(),
    entries=(("entryPoint",),),
    # The runner writes the commit as a sha256; its length tells what it is.
    digests=("gitCommit", "sha1", "sha256"),
    lists_variables=True,
    lists_materials=False,
)
_OTHER = Dialect(
    frozenset(["workflow", "repository", "source", "ref", "path", "entryPoint", "inputs", "vars", "parameters"])
)


def dialect_of(build_type: str) -> Dialect:
    """Return how provenance of a build type is read; of an unknown one by the names that are usual."""
    if build_type in GITHUB_WORKFLOW:
        return _GITHUB
    start, end = _GITLAB_RUNNER
    if build_type.rstrip("/") == GITLAB_JOB or (build_type.startswith(start) and build_type.endswith(end)):
        return _GITLAB
    return _OTHER
