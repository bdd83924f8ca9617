"""What an index shows together with its bases, decided from signed pages."""

from __future__ import annotations

import json

import pytest
from packaging.utils import canonicalize_name

from countermark.core.merging import merged
from countermark.core.names import IndexName, parse_index_name
from countermark.core.page import MalformedPage, Page, parse_page
from shared.formats.python.merged import Part, merged_document

WIDGET = canonicalize_name("widget")
NEAR, FAR = parse_index_name("alice/dev"), parse_index_name("root/stable")


def document(index: IndexName, files: str, status: str = "") -> bytes:
    """Return a signed page's bytes; each word of `files` is VERSION:DIGIT, the digest being that digit repeated."""
    listed = [
        {"filename": f"widget-{version}.tar.gz", "hashes": {"sha256": digit * 64}}
        for version, digit in (word.split(":") for word in files.split())
    ]
    head = {"meta": {"api-version": "1.4", "_last-serial": 1, "_index": str(index)}, "name": "widget"}
    state = {"project-status": {"status": status}} if status else {}
    return json.dumps(head | state | {"versions": [], "files": listed}, separators=(",", ":")).encode()


def shown(*pages: Page) -> list[tuple[str, str, str]]:
    """Return (version, first digit of the digest, owner) of each file that is shown."""
    return [(str(one.file.distribution.version), one.file.sha256[0], str(one.owner)) for one in merged(pages)]


def test_the_nearest_page_decides_for_a_file_name_and_versions_add_up() -> None:
    """The same name further away with other bytes is not shown; other versions are."""
    near, far = parse_page(document(NEAR, "1:a 3:a")), parse_page(document(FAR, "1:b 2:b"))
    assert shown(near, far) == [("1", "a", "alice/dev"), ("3", "a", "alice/dev"), ("2", "b", "root/stable")]


def test_quarantine_ends_the_walk() -> None:
    """Behind a page in quarantine nothing is shown, nearer ones stay; other states hide nothing."""
    shut, far = parse_page(document(NEAR, "", "quarantined")), parse_page(document(FAR, "1:b"))
    assert shown(shut, far) == []
    assert shown(far, shut) == [("1", "b", "root/stable")]
    assert shown(parse_page(document(NEAR, "1:a", "deprecated")), far) == [("1", "a", "alice/dev")]


def test_a_status_that_is_none_is_refused() -> None:
    """A signed page whose status cannot be read is not taken for one without."""
    data = document(NEAR, "1:a").replace(b'"versions"', b'"project-status":"quarantined","versions"')
    with pytest.raises(MalformedPage):
        parse_page(data)


@pytest.mark.parametrize(
    ("near", "far"), [("1:a 2:a", "1:b 3:b"), ("", "1:b"), ("1:a", ""), ("1:a", "1:a"), ("2:a", "1:b 4:b 3:b")]
)
def test_what_clients_prove_is_what_the_server_lists(near: str, far: str) -> None:
    """The server's merged page has the same files of the same owners in the same order."""
    parts = [Part(NEAR, document(NEAR, near)), Part(FAR, document(FAR, far))]
    served = json.loads(merged_document(NEAR, WIDGET, 2, parts))
    listed = [(file["filename"], file["hashes"]["sha256"], file.get("_origin", str(NEAR))) for file in served["files"]]
    pages = [parse_page(part.document) for part in parts]
    assert [
        (one.file.distribution.file_name, one.file.sha256, str(one.owner)) for one in merged(pages)
    ] == listed  # fmt: skip
