"""Whatever an advisory says, what it names is affected, and equal versions are affected alike."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from shared.formats.python import osv
from shared.formats.python.osv import Affected, affects, parse_advisory
from tests.support.advisories import record

_NUMBERS = st.lists(st.integers(0, 12).map(str), min_size=1, max_size=4).map(".".join)
_VERSIONS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "", "1!"]),
    _NUMBERS,
    st.sampled_from(["", "", "a1", "rc2", ".post3", ".dev4", "rc1.dev2"]),
    st.sampled_from(["", "", "", "+cpu", "+1.2"]),
)
_KINDS = st.sampled_from(["introduced", "fixed", "last_affected", "limit"])
_EVENTS = st.lists(st.builds(lambda kind, version: {kind: version}, _KINDS, _VERSIONS | st.just("0")), max_size=6)
_ENTRIES = st.builds(
    lambda versions, ranges: {
        "versions": versions,
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, *events]} for events in ranges],
    },
    st.lists(_VERSIONS | st.text(min_size=1, max_size=20), max_size=5),
    st.lists(_EVENTS, max_size=3),
)


def _read(entry: dict[str, Any]) -> Affected:
    [found] = parse_advisory(record("A-1", entry)).affected.values()
    return found


@given(_ENTRIES)
def test_what_is_named_is_affected(entry: dict[str, Any]) -> None:
    """Each of `versions` is affected, whatever the ranges say."""
    found = _read(entry)
    assert all(affects(found, version) for version in entry["versions"])


@given(_ENTRIES, _VERSIONS)
def test_equal_versions(entry: dict[str, Any], version: str) -> None:
    """Spellings of one version are affected alike, and what is kept answers as what was read."""
    found = _read(entry)
    public, plus, local = version.partition("+")
    alike = [version, f"v{version}", f"{version} ", str(Version(version))]
    if all(part.isdigit() for part in public.rpartition("!")[2].split(".")):
        alike.append(f"{public}.0{plus}{local}")
    assert len({affects(found, one) for one in alike}) == 1
    assert affects(osv.unpack_affected(osv.pack_affected(found)), version) == affects(found, version)


@given(_VERSIONS, _VERSIONS, _VERSIONS)
def test_order(start: str, end: str, asked: str) -> None:
    """Between an introduction and a fix lies what PEP 440 puts there, and local builds of it."""
    events = [{"introduced": start}, {"fixed": end}]
    found = _read({"ranges": [{"type": "ECOSYSTEM", "events": events}]})

    def inside(version: Version) -> bool:
        return Version(start) <= version and not Version(start) <= Version(end) <= version

    wanted = Version(asked)
    if Version(start) < Version(end):
        assert affects(found, asked) == (inside(wanted) or inside(Version(wanted.public)))


@given(_VERSIONS, _VERSIONS)
def test_last_affected(last: str, asked: str) -> None:
    """Up to the last affected version all are, that one included, and none after it but its local builds."""
    found = _read({"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"last_affected": last}]}]})
    wanted = Version(asked)
    assert affects(found, asked) == (wanted <= Version(last) or Version(wanted.public) <= Version(last))
