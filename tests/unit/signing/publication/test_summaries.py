"""Verification summaries say what was shown, and nothing where nothing was."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from countermark.core.attestations.judgements import JudgedFile, Judgement
from countermark.core.digest import sha256_of
from countermark.core.names import FileName, NormalizedName, pointer_target, summary_target
from countermark.core.policy import Verdict
from services.signing.publication.summaries import is_summary, pointer_of_summary, summary

NAME = "widget-1.0+cu.1-py3-none-any.whl"
FILE = JudgedFile("root/stable", "widget", "1.0+cu.1", NAME, sha256_of(b"wheel"))
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def judged(*, allowed: bool = True, demanded: bool = True, level: int | None = 3) -> Judgement:
    """Return a judgement without bundles."""
    verdict = Verdict(allowed, demanded, 0 if allowed else 62, "policy", "a reason", level=level)
    return Judgement((), verdict, verdict.exit_code, verdict.reason, "policy")


@pytest.mark.parametrize("judgement", [judged(allowed=False), judged(demanded=False)])
def test_what_was_not_shown_has_no_summary(judgement: Judgement) -> None:
    """A file that failed, or of which nothing was demanded."""
    assert summary(FILE, judgement, sha256_of(b"policy"), AT) is None


@pytest.mark.parametrize(
    ("level", "said"),
    [(None, "UNEVALUATED"), (0, "UNEVALUATED"), (1, "1"), (3, "3"), (4, "3")],
)
def test_levels_are_those_of_the_build_track(level: int | None, said: str) -> None:
    """No builder's level is told as more than there is."""
    told = orjson.loads(summary(FILE, judged(level=level), sha256_of(b"policy"), AT) or b"")
    assert told["predicate"]["verifiedLevels"] == [f"SLSA_BUILD_LEVEL_{said}"]
    assert told["predicate"]["timeVerified"] == "2026-01-02T03:04:05Z"
    assert told["subject"] == [{"name": NAME, "digest": {"sha256": FILE.sha256}}]
    assert "+" not in told["predicate"]["resourceUri"]


def test_a_summary_stands_beside_its_pointer() -> None:
    """Each path tells the other, also of a local version."""
    project, name = NormalizedName("widget"), FileName(NAME)
    path = summary_target(project, name)
    assert is_summary(path)
    assert pointer_of_summary(path) == pointer_target(project, name)
    assert not is_summary(pointer_target(project, name))
