"""Advisories in the OSV format: what is read of them, and which versions they are about."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from countermark.core.names import NormalizedName
from shared.formats.python import osv
from shared.formats.python.osv import InvalidAdvisory, affects, parse_advisory
from tests.support.advisories import record


def affected(**entry: Any) -> osv.Affected:
    """Return what a record with this entry says of its project."""
    entry = {"package": {"ecosystem": "PyPI", "name": "Thing"}, **entry}
    return parse_advisory(record("A-1", affected=[entry])).affected[NormalizedName("thing")]


def ranged(*events: dict[str, str], kind: str = "ECOSYSTEM") -> osv.Affected:
    """Return the same of a record with one range."""
    return affected(ranges=[{"type": kind, "events": list(events)}])


class TestRanges:
    """OSV schema, section "Evaluation"."""

    @pytest.mark.parametrize(
        ("events", "inside", "outside"),
        [
            ([{"introduced": "0"}, {"fixed": "2.0"}], ["0.dev0", "0", "1.9", "2.0rc1"], ["2.0", "2", "2.0.post1", "3"]),
            ([{"introduced": "1.0"}, {"last_affected": "1.5"}], ["1", "1.5.0"], ["0.9", "1.0rc1", "1.5.1", "1.6"]),
            ([{"introduced": "1.0"}], ["1.0", "99!1"], ["0.9"]),
            (
                [{"introduced": "2.0"}, {"fixed": "1.4"}, {"fixed": "2.3"}, {"introduced": "1.0"}],
                ["1.0", "1.3", "2.0", "2.2"],
                ["0.9", "1.4", "1.9", "2.3"],
            ),
            ([{"introduced": "0"}, {"limit": "2.0"}], ["1.0"], ["2.0", "3.0"]),
            ([{"introduced": "0"}, {"limit": "*"}], ["1.0", "99!1"], []),
            ([{"introduced": "1.0"}, {"fixed": "1.0"}], [], ["0.9", "1.0", "2.0"]),
            ([{"introduced": "1!0"}, {"fixed": "1!2"}], ["1!1"], ["5.0", "1!2"]),
            ([{"introduced": "0"}, {"fixed": "1.10"}], ["1.9"], ["1.10", "1.11"]),
        ],
        ids=str,
    )
    def test_events(self, events: list[dict[str, str]], inside: list[str], outside: list[str]) -> None:
        """What lies between an introduction and its end is affected, in the order of PEP 440."""
        found = ranged(*events)
        assert [version for version in (*inside, *outside) if affects(found, version)] == inside

    @pytest.mark.parametrize("kind", ["SEMVER", "GIT", "OTHER"])
    def test_other_kinds(self, kind: str) -> None:
        """Ranges of other orders say nothing of versions of PyPI."""
        assert not affects(ranged({"introduced": "0"}, kind=kind), "1.0")

    def test_local_versions(self) -> None:
        """A local build is affected when its release is; one that is named alone says nothing of the release."""
        assert affects(affected(versions=["2.0"]), "2.0+cpu")
        assert affects(ranged({"introduced": "0"}, {"last_affected": "2.0"}), "2.0+cpu")
        assert not affects(affected(versions=["2.0+cpu"]), "2.0")

    def test_no_pep_440(self) -> None:
        """Versions that PEP 440 does not know come before all that it does, and are found by their text."""
        old = ranged({"introduced": "0"}, {"fixed": "2004d"})
        assert affects(old, "2003x")
        assert not affects(old, "0.1")
        assert affects(affected(versions=["0.1-Final-X"]), "0.1-final-x")

    def test_entries_of_one_project(self) -> None:
        """Several entries for one project count together, whatever the spelling of its name."""
        entries = [
            {"package": {"ecosystem": "PyPI", "name": "a.b"}, "versions": ["1.0"]},
            {"package": {"ecosystem": "PyPI", "name": "A_B"}, "versions": ["2.0"]},
            {"package": {"ecosystem": "npm", "name": "a-b"}, "versions": ["3.0"]},
            {"ranges": [{"type": "GIT", "repo": "https://code.test/x", "events": [{"introduced": "0"}]}]},
        ]
        [(name, found)] = parse_advisory(record("A-1", affected=entries)).affected.items()
        assert (str(name), sorted(found.versions)) == ("a-b", ["1", "2"])


class TestRecords:
    """What a record must have."""

    def test_kept(self) -> None:
        """What is kept of a record answers as the record does."""
        found = ranged({"introduced": "0"}, {"fixed": "2.0"})
        assert osv.unpack_affected(osv.pack_affected(found)) == found

    def test_times(self) -> None:
        """Times have a zone; digits beyond microseconds are passed over."""
        parsed = parse_advisory(
            record("A-1", modified="2026-01-02T03:04:05.123456789Z", withdrawn="2026-02-03T00:00:00Z")
        )
        assert parsed.modified.isoformat() == "2026-01-02T03:04:05.123456+00:00"
        assert parsed.withdrawn is not None

    @pytest.mark.parametrize(
        ("document", "why"),
        [
            (b"", "no JSON"),
            (b"[]", "no JSON object"),
            (b"[" * 100_000, "no JSON"),
            (b'{"id": "A-1", "x": ' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper"),
            (b'"' + b"x" * osv.MAX_RECORD + b'"', "larger than"),
            (record("A-1", id=None), "`id`"),
            (record("../A-1"), "`id`"),
            (record("A" * 129), "`id`"),
            (record("A-1", modified=None), "`modified` is absent"),
            (record("A-1", modified="yesterday"), "`modified` is no time"),
            (record("A-1", modified="2026-01-02T03:04:05"), "`modified` is no time"),
            (record("A-1", withdrawn=7), "`withdrawn` is no time"),
            (record("A-1", aliases="CVE-1"), "`aliases`"),
            (record("A-1", affected={}), "`affected`"),
            (record("A-1", affected=[{"package": {"ecosystem": "PyPI", "name": "../x"}}]), "`package.name`"),
            (record("A-1", affected=[{"package": {"ecosystem": "PyPI"}, "versions": ["1"]}]), "`package.name`"),
            (record("A-1", {"versions": "1.0"}), "`versions`"),
            (record("A-1", {"versions": ["1" * 257]}), "more than 256"),
            (record("A-1", {"ranges": [7]}), "`ranges`"),
            (record("A-1", {"ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "1"}]}]}), "no `introduced`"),
            (record("A-1", {"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": 0}]}]}), "`introduced`"),
        ],
    )
    def test_refused(self, document: bytes, why: str) -> None:
        """What is no record, or would be answered wrongly, is refused with what is wrong."""
        with pytest.raises(InvalidAdvisory, match=why):
            parse_advisory(document)

    def test_in_the_json_api(self) -> None:
        """The JSON API lists an advisory in the public index's shape."""
        document = record("A-1", summary="Bad", details="Very bad", aliases=["CVE-1"], withdrawn="2026-02-03T00:00:00Z")
        found = ranged({"introduced": "0"}, {"fixed": "1.10"}, {"introduced": "2.0"}, {"fixed": "2.1"})
        assert osv.vulnerability(document, found) == {
            "id": "A-1",
            "source": "osv",
            "link": "https://osv.dev/vulnerability/A-1",
            "aliases": ["CVE-1"],
            "details": "Very bad",
            "summary": "Bad",
            "fixed_in": ["1.10", "2.1"],
            "withdrawn": "2026-02-03T00:00:00Z",
        }
        bare = osv.vulnerability(orjson.dumps({"id": "A-1", "modified": "2026-01-02T03:04:05Z"}), found)
        assert (bare["aliases"], bare["details"], bare["summary"], bare["withdrawn"]) == ([], "", None, None)
