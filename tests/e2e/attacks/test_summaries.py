"""Rows 10, 19 and 23 once more: verification summaries, where the policy takes what another team verified.

It is the thief of the bins' key who lists them beside the pointer.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable

import pytest

from countermark.core.names import parse_file_name, parse_project_name, summary_target
from tests.e2e.attacks.attested import Attested, attested
from tests.e2e.attacks.conftest import Scene
from tests.e2e.attacks.names import OLDER, WHEEL
from tests.support.sigstore.instance import Instance
from tests.support.tampering.table import Case, attacks
from tests.support.verifiers import VERIFIER, Verifier

pytestmark = pytest.mark.embedded

TARGET = summary_target(parse_project_name("widget"), parse_file_name(WHEEL))
_EVIL = b"not a wheel, but somebody is said to have verified it\n"
_OTHER = "https://verify.example/team-c"

Forge = Callable[["Teams"], bytes]


class Teams:
    """A scene whose policy takes the wheel by what one team verified; another one verifies other projects."""

    def __init__(self, scene: Scene) -> None:
        self.made: Attested = attested(scene)
        self.team, self.other = Verifier(Instance()), Verifier(Instance())
        named = {
            "team-a": {"verifier_id": VERIFIER, "key": "team-a", "level": 3},
            "team-c": {"verifier_id": _OTHER, "key": "team-c", "level": 3},
        }
        uris = ["countermark:team-a/prod/{project}/{version}/{file}"]
        verifiers = {name: one | {"resource_uris": uris} for name, one in named.items()}
        pems = {"team-a": self.team.pem, "team-c": self.other.pem}
        keys = "".join(f"  {name}: |\n{textwrap.indent(pem, '    ')}" for name, pem in pems.items())
        rules = (
            '  - {match: "widget", verifiers: ["team-a"], min_level: 2, log: {rekor: ["none"]}}\n'
            '  - {match: "*", verifiers: ["team-c"], log: {rekor: ["none"]}}\n'
        )
        text = f'schema: "policy/v1"\nkeys:\n{keys}verifiers: {json.dumps(verifiers)}\npackages:\n{rules}'
        self.made.trust({"trust/policy.yaml": text.encode()})
        self.made.name(None)

    def list_(self, summary: bytes, content: bytes | None = None) -> None:
        """List a summary beside the pointer, and other bytes where some are given."""
        if content is not None:
            self.made.name(None, content)
        self.made.scene.forger.publish({TARGET: summary})

    def summary(self, content: bytes | None = None, by: Verifier | None = None, **changes: object) -> bytes:
        """Return a summary of the genuine wheel by the team, or of other bytes, or by somebody else."""
        made = (by or self.team).summary(WHEEL, self.made.content if content is None else content, **changes)
        return json.dumps(made).encode()


def _attack(case: Case, scene: Scene, content: bytes | None = None) -> None:
    teams = Teams(scene)
    teams.list_(teams.summary())
    ended = scene.client.get("widget", "--file", WHEEL)
    assert ended.code == 0, ended.words
    (scene.client.dest / WHEEL).unlink()
    forge: Forge = case.given
    teams.list_(forge(teams), content)
    teams.made.ends(case)


def _of_another(teams: Teams) -> bytes:
    digest = {"sha256": "d" * 64}
    return teams.summary(subject=[{"name": OLDER, "digest": digest}])


@attacks(
    10,
    Case(
        "bins' key lists other bytes, and a summary of them by a key of the thief's own",
        62,
        "verification_summary",
        lambda teams: teams.summary(_EVIL, Verifier(Instance())),
    ),
    Case(
        "bins' key lists other bytes, and the genuine summary",
        62,
        "verification_summary",
        lambda teams: teams.summary(),
    ),
)
def test_row_10_bins_key_and_summaries(case: Case, scene: Scene) -> None:
    """The online key lists what it likes, and signs for no verifier that the policy names."""
    _attack(case, scene, _EVIL)


@attacks(
    19,
    Case("the summary of another file", 62, "verification_summary", _of_another),
    Case(
        "a summary that names the file in another index (resourceUri)",
        62,
        "resource of",
        lambda teams: teams.summary(resourceUri=f"countermark:team-a/testing/widget/1.10/{WHEEL}"),
    ),
    Case(
        "a summary that names another release (resourceUri)",
        62,
        "resource of",
        lambda teams: teams.summary(resourceUri=f"countermark:team-a/prod/widget/1.9/{OLDER}"),
    ),
)
def test_row_19_summaries_of_something_else(case: Case, scene: Scene) -> None:
    """What passed elsewhere has not passed here."""
    _attack(case, scene)


@attacks(
    23,
    Case(
        "a summary of a verifier of other projects",
        62,
        "team-c",
        lambda teams: teams.summary(by=teams.other, verifier={"id": _OTHER}),
    ),
    Case(
        "that verifier calls itself by the name of the right one",
        62,
        "team-c",
        lambda teams: teams.summary(by=teams.other),
    ),
    Case(
        "the right signer for another verifier (verifier.id)",
        60,
        "verifier id",
        lambda teams: teams.summary(verifier={"id": _OTHER}),
    ),
    Case("a summary that says FAILED", 62, "result of", lambda teams: teams.summary(verificationResult="FAILED")),
    Case(
        "a summary of too low a level, beside a level that nobody knows",
        62,
        "level of",
        lambda teams: teams.summary(verifiedLevels=["SLSA_BUILD_LEVEL_1", "SLSA_BUILD_LEVEL_9"]),
    ),
)
def test_row_23_forged_summaries(case: Case, scene: Scene) -> None:
    """Signer and verifier are a pair, and only what passed, and is high enough, counts."""
    _attack(case, scene)
