"""Properties of page documents and locations: hostile input is refused with the one error of its parser."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from countermark.core.errors import UsageFault
from countermark.core.page import MalformedPage, parse_page
from countermark.location import parse_location

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
keys = st.sampled_from(["meta", "name", "files", "_index", "filename", "hashes", "sha256", "yanked", "requires-python"])
pages = st.dictionaries(keys, values | st.dictionaries(keys, values, max_size=4), max_size=6)


@given(pages | values)
def test_any_json_is_read_or_refused(document: object) -> None:
    """JSON of any shape is a page or refused, nothing else."""
    try:
        parse_page(json.dumps(document).encode())
    except MalformedPage:
        return


@given(st.binary(max_size=500))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Any bytes are a page or refused, nothing else."""
    try:
        parse_page(data)
    except MalformedPage:
        return


@given(st.text(max_size=60) | st.text("htps:/.@%2e?#[]0123456789root/stable+", max_size=60).map("https://".__add__))
def test_any_text_is_a_location_or_refused(text: str) -> None:
    """Any text is a location whose URLs hold no credentials, query or dots, or a usage fault."""
    try:
        location = parse_location(text)
    except UsageFault:
        return
    for url in (location.metadata_url, location.artifact_base):
        assert "@" not in url.partition("://")[2].partition("/")[0]
        assert not {"?", "#"} & set(url)
        assert "/../" not in url
