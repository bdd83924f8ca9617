"""The attacks of the trust contract by row: each is a case of a test, which says how the client ends.

What a case says is what its test asserts, and `docs/attacks.md` is written from the cases: neither can drift.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.processes import ROOT

DOCUMENT = ROOT / "docs" / "attacks.md"
"""What is written from this."""

PACKAGES = ("tests/e2e/attacks", "tests/integration/attacks")
"""Where the tests lie."""

ROWS = {
    1: "arbitrary install",
    2: "freeze",
    3: "rollback",
    4: "fast-forward",
    5: "mix and match",
    6: "endless data",
    7: "slow retrieval",
    8: "wrong software",
    9: "extraneous dependency",
    10: "key compromise: bins",
    11: "key compromise: timestamp, snapshot",
    12: "key compromise: root below its threshold",
    13: "online key writes policy",
    14: "malicious mirror",
    15: "delegation tricks",
    16: "tampered object store",
    17: "tampered catalogue",
    18: "crash",
    19: "attestation replay",
    20: "subject confusion",
    21: "type confusion",
    22: "identity confusion",
    23: "builder forgery",
    24: "log tricks",
    25: "time tricks",
    26: "trust root tricks",
    27: "pointer parsing",
    28: "target path",
    29: "cache",
    30: "HSM",
    31: "other index",
}
"""What each row is called. Source: trust contract section 6."""


@dataclass(frozen=True, slots=True)
class Case:
    """One attack and how it ends.

    Attributes:
        what: the attack.
        code: the exit code of the client; with `status`, the status of an HTTP answer.
        says: a part of what it says; empty where it succeeds.
        given: what the test does with it.
        gap: what the contract asks for and is not had, with the reason.
        status: whether `code` is a status.
    """

    what: str
    code: int
    says: str = ""
    given: Any = None
    gap: str = ""
    status: bool = False


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An attack that a test outside of these modules covers; `test` is its node id."""

    row: int
    what: str
    ends: str
    test: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table; `case` is None for what is covered elsewhere."""

    row: int
    what: str
    says: str
    ends: str
    test: str
    gap: str
    case: Case | None = None


ELSEWHERE = (
    *(
        Elsewhere(13, what, ends, f"tests/integration/{test}")
        for what, ends, test in (
            (
                "the catalogue names another policy that the trust role did not sign, then an upload",
                "HTTP 503, nothing is taken",
                "test_uploading_attestations.py::test_a_policy_that_nobody_signed_takes_nothing",
            ),
            (
                "the same, then a publication",
                "the new file is refused",
                "signing/test_attested.py::test_a_policy_that_nobody_signed_is_not_applied",
            ),
            (
                "the catalogue names another policy, signed by keys that its own `targets` list",
                "nothing is judged",
                "test_trust_material.py::TestWhoeverWritesTheCatalogue::test_targets_that_name_other_holders",
            ),
            (
                "the catalogue names an older policy of the trust role",
                "nothing is judged by a process that saw the newer one",
                "test_trust_material.py::TestWhoeverWritesTheCatalogue::test_an_older_version",
            ),
            (
                "the catalogue holds a whole tree of other keys, from the first root on",
                "nothing is judged where the settings name the first root",
                "test_trust_material.py::TestWhoeverWritesTheCatalogue::test_another_first_root",
            ),
        )
    ),
    Elsewhere(
        18,
        "kill -9 between every two steps of upload and publication",
        "0: old or new state, never half",
        "tests/e2e/test_kills.py::test_a_death_loses_nothing_and_shows_nothing_half",
    ),
    Elsewhere(
        18,
        "kill -9 in a push",
        "0: all files or none",
        "tests/e2e/test_kills.py::test_a_push_that_dies_is_done_or_never_was",
    ),
    Elsewhere(
        18,
        "a paused signer goes on after another took its lease",
        "the fence has one winner",
        "tests/integration/signing/test_publishing.py::test_an_overtaken_signer_commits_nothing",
    ),
    Elsewhere(
        18,
        "eight signers at once",
        "everything is published, versions only grow",
        "tests/integration/signing/test_publishing.py::test_many_publishers_at_once_lose_nothing",
    ),
    Elsewhere(
        18,
        "the store fails at any write of a publication",
        "0: old or new state",
        "tests/integration/signing/test_publishing.py::test_a_store_that_fails_at_any_write_leaves_readers_whole",
    ),
    *(
        Elsewhere(30, what, ends, f"tests/integration/signing/{test}")
        for what, ends, test in (
            (
                "the token is away",
                "publishing stops, nothing is written",
                "test_token_publishing.py::test_a_token_that_is_away_stops_publishing",
            ),
            (
                "a wrong PIN",
                "publishing stops, nothing is written",
                "test_token_publishing.py::test_a_wrong_pin_stops_publishing",
            ),
            ("a wrong PIN, again", "no PIN is tried twice", "test_tokens.py::test_a_wrong_pin_is_tried_once"),
            (
                "URI and public key that do not belong together",
                "publishing stops, nothing is written",
                "test_token_publishing.py::test_a_uri_of_another_key_stops_publishing",
            ),
            ("8 threads on one token", "every signature verifies", "test_tokens.py::test_eight_threads_on_one_token"),
        )
    ),
)
"""Rows, or parts of rows, that are tested where the thing itself is tested."""


def attacks(row: int, *cases: Case) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Run a test for each of the cases of a row; it gets them as `case`."""

    def mark(test: Callable[..., Any]) -> Callable[..., Any]:
        test.__dict__["attack"] = (row, cases)
        named = [pytest.param(case, id=slug(case.what)) for case in cases]
        marked: Callable[..., Any] = pytest.mark.parametrize("case", named)(test)
        return marked

    return mark


def slug(text: str) -> str:
    """Return words as a part of a test's id."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")[:70]


def lines() -> Sequence[Line]:
    """Return the table."""
    found = [*_here(), *_elsewhere()]
    return sorted(found, key=lambda line: line.row)


def document() -> str:
    """Return the text of `docs/attacks.md`."""
    rows = "\n".join(
        f"| {line.row} | {_cell(line.what)} | {_cell(line.says)} | {line.ends}{' *' if line.gap else ''} | "
        f"{f'`{_short(line.test)}`' if line.test else '-'} |"
        for line in lines()
    )
    gaps = "\n".join(f"- Row {line.row}, {line.what}: {line.gap}." for line in lines() if line.gap)
    return _TEXT.format(rows=rows, gaps=gaps)


def _here() -> Iterator[Line]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).glob("test_*.py")):
            module = importlib.import_module(f"{package.replace('/', '.')}.{path.stem}")
            for name, test in vars(module).items():
                row, cases = getattr(test, "attack", (0, ()))
                for case in cases:
                    ends = f"HTTP {case.code}" if case.status else str(case.code)
                    node = f"{package}/{path.name}::{name}[{slug(case.what)}]"
                    yield Line(row, case.what, case.says, ends, node, case.gap, case)


def _elsewhere() -> Iterator[Line]:
    for each in ELSEWHERE:
        yield Line(each.row, each.what, "", each.ends, each.test, "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").strip().rstrip(":")


def _short(test: str) -> str:
    """Return a test's id without its folder where it is one of ours, and without its case."""
    path, _, name = test.partition("::")
    for package in PACKAGES:
        path = path.removeprefix(f"{package}/")
    return f"{path}::{name.partition('[')[0]}"


_TEXT = """# Attacks, and what the client says

Each row of section 6 of the trust contract, as it is tested: the client's real command against a running deployment,
with a server in between that tampers, or with keys of the deployment in the wrong hands.
`tests/unit/client/test_attacks.py` and `test_attacks_on_documents.py` go through most rows once more in memory. The
bundles of rows 10 and 16 to 26 are signed by a Sigstore instance of the tests' own (`tests/support/sigstore`). The
registry refuses such bundles when they are uploaded, so it is a thief of the bins' key who lets a pointer name them.

This file is written by `python -m tests.support.tampering --write` from the tests themselves, and a test fails when it
differs. `python -m tests.support.tampering` runs all of it and prints what the client said.

"Says" is a part of the client's message; the number in front of each test is the row. Exit codes: 0 proven, 10 network
or deadline, 11 no such target, 20 signature or threshold, 21 expired, 22 rollback, 23 other metadata, 30 pointer
malformed, 31 pointer does not match the request, 40 length, 41 digest, 50, 51 and 52 an attestation's bytes, structure
and subject, 60 certificate or identity, 61 log, proof or time, 62 policy, 70 this machine. Whenever it is not 0,
nothing lies at the destination afterwards. A star marks a gap, see below.

| row | attack | the client says | ends | test |
|---|---|---|---|---|
{rows}

Tests without a folder lie in `tests/e2e/attacks` (against a running deployment) and `tests/integration/attacks`
(against the catalogue and the signer).

## Gaps

What the contract asks for and is not had, or had otherwise:

{gaps}
"""
