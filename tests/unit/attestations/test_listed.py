"""Lists of bundles are read strictly, and say nothing but where bytes lie."""

from __future__ import annotations

import json
from typing import Any

import pytest

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES
from countermark.core.attestations.listed import MAX_LIST_BYTES, MalformedList, read_bundle_list
from countermark.core.pointer import Resource
from shared.reading.provenance import bundle_list

DIGEST = "ab" * 32
URI = f"/files/{DIGEST[:2]}/{DIGEST[2:]}/thing-1.0.tar.gz.sigstore.json"
GOOD = {"uri": URI, "digest": DIGEST, "length": 10}


def test_what_the_server_writes_is_read() -> None:
    """A list with a bundle, and an empty one."""
    made = bundle_list([(URI[1:], DIGEST, 10, "https://slsa.dev/provenance/v0.2")])
    assert read_bundle_list(made) == [Resource(URI, DIGEST, 10)]  # type: ignore[arg-type]
    assert read_bundle_list(bundle_list(())) == []


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"{", "cannot be read"),
        (b"[]", "version"),
        ({"version": True, "bundles": []}, "version"),
        ({"version": 2, "bundles": []}, "version"),
        ({"version": 1}, "not a list"),
        ({"version": 1, "bundles": [GOOD] * 17}, "not a list"),
        ({"version": 1, "bundles": ["x"]}, "no object"),
        ({"version": 1, "bundles": [GOOD | {"uri": "https://evil.test/x"}]}, "path-absolute"),
        ({"version": 1, "bundles": [GOOD | {"uri": "//evil.test/x"}]}, "not normalised"),
        ({"version": 1, "bundles": [GOOD | {"uri": "/files/../x"}]}, "not normalised"),
        ({"version": 1, "bundles": [GOOD | {"uri": None}]}, "does not say"),
        ({"version": 1, "bundles": [GOOD | {"digest": "zz"}]}, "sha256"),
        ({"version": 1, "bundles": [GOOD | {"length": True}]}, "length"),
        ({"version": 1, "bundles": [GOOD | {"length": 0}]}, "length"),
        ({"version": 1, "bundles": [GOOD | {"length": MAX_BUNDLE_BYTES + 1}]}, "length"),
        (b" " * (MAX_LIST_BYTES + 1), "more than"),
    ],
)
def test_what_is_none_is_refused(document: Any, words: str) -> None:
    """Anything that is not exactly such a list says which rule it breaks."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(MalformedList, match=words):
        read_bundle_list(body)
