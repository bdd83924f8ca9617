"""What a mirror takes over from the JSON API of its upstream."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark.core.names import NormalizedName
from shared.formats.python.json_facts import (
    MOST_VULNERABILITIES,
    FileFacts,
    UnreadableFacts,
    pack_facts,
    read_facts,
    unpack_facts,
)

THING = NormalizedName("thing")
SHA256, MD5, BLAKE2B = "a" * 64, "b" * 32, "c" * 64
INFO = {"name": "Thing", "version": "1.0"}


def document(**more: Any) -> bytes:
    """Return a document."""
    return orjson.dumps({"info": INFO} | more)


def test_kept_as_read() -> None:
    """What the catalogue keeps is what was read."""
    file = {
        "filename": "thing-1.0.egg",
        "digests": {"sha256": SHA256.upper(), "md5": MD5, "blake2b_256": BLAKE2B},
        "packagetype": "bdist_egg",
        "python_version": "2.7",
        "comment_text": "built by hand",
    }
    facts = read_facts(document(urls=[file], last_serial=7, vulnerabilities=[{"id": "x"}]), THING, None)
    assert facts.files == {"thing-1.0.egg": FileFacts(SHA256, MD5, BLAKE2B, "bdist_egg", "2.7", "built by hand")}  # type: ignore[arg-type]
    assert (facts.display_name, facts.version, facts.serial) == ("Thing", "1.0", 7)
    assert unpack_facts(pack_facts(facts)) == facts


@pytest.mark.parametrize(("asked", "refused"), [("1.0", False), ("1", False), ("1.1", True)])
def test_the_version_that_was_asked_for(asked: str, refused: bool) -> None:
    """An equal one counts as the same, another one is refused in words."""
    if refused:
        with pytest.raises(UnreadableFacts, match=r"about version '1\.0', and 1\.1 was asked for"):
            read_facts(document(), THING, asked)
    else:
        assert read_facts(document(), THING, asked).version == "1.0"


@pytest.mark.parametrize("wrong", [5, True, "CVE-1", {"a": 1}, [1]])
def test_other_names_of_a_vulnerability_are_a_list_or_nothing(wrong: object) -> None:
    """Whoever puts a document together goes through them: anything else was an error for the whole document."""
    said = [{"id": "X", "aliases": wrong, "fixed_in": wrong, "details": "bad"}]
    assert read_facts(document(vulnerabilities=said), THING, None).vulnerabilities == [{"id": "X", "details": "bad"}]


@pytest.mark.parametrize("name", ["other", "", None, 7, "thing\n", "x" * 10_000])
def test_another_project(name: object) -> None:
    """A document of another project is refused."""
    with pytest.raises(UnreadableFacts, match="thing was asked for"):
        read_facts(document(info={"name": name, "version": "1.0"}), THING, None)


def test_vulnerabilities_are_bounded() -> None:
    """So many of a release are passed on."""
    facts = read_facts(document(vulnerabilities=[{"id": "x"}] * 5_000), THING, None)
    assert len(facts.vulnerabilities) == MOST_VULNERABILITIES


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(["name", "version", "summary", "classifiers", "requires_dist", "project_urls", "odd", "_x"])


@given(
    info=st.dictionaries(_KEYS, _JSON),
    rest=st.dictionaries(st.sampled_from(["releases", "urls", "vulnerabilities", "ownership", "last_serial"]), _JSON),
)
def test_any_document(info: dict[str, Any], rest: dict[str, Any]) -> None:
    """Whatever a document says, it is taken over or refused, and what is taken over can be kept."""
    facts = read_facts(document(info=info | INFO, **rest), THING, None)
    assert unpack_facts(pack_facts(facts)).info == facts.info
    with suppress(UnreadableFacts):
        read_facts(document(info=info, **rest), THING, None)
