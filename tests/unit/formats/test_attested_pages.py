"""What pages and pointers say of attested files, and what may change of a file that is listed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest

from countermark.core.digest import Length, sha256_of
from countermark.core.names import page_target, pointer_target
from countermark.core.pointer import Resource, parse_pointer
from shared.formats.python.listing import Listing
from shared.formats.python.pages import changed_facts, encode_file, provenance_url
from shared.objects.keys import bundle_key
from tests.unit.formats.pages import UPLOADED, page_file, project_page, render_all

LOCAL = "widget-1.9+cu.1-py3-none-any.whl"


def test_pointers_name_the_attestation_and_pages_print_where_the_object_is() -> None:
    """The key is the bundle's own digest; the address is absolute, and written as the file's is."""
    file, digest = page_file(LOCAL), sha256_of(b"a bundle")
    resource = Resource(f"/{bundle_key(digest, file.file_name)}", digest, Length(8))
    address = provenance_url("https://registry.example/root/stable/", file.sha256, file.file_name)
    page = project_page([replace(file, attestation=resource, provenance=address), page_file("widget-1.0.tar.gz")])
    targets = render_all(page)
    assert parse_pointer(targets[pointer_target(page.project, file.file_name)]).attestation == resource
    assert resource.uri == f"/files/{digest[:2]}/{digest[2:]}/{LOCAL}.sigstore.json"
    without, attested = orjson.loads(targets[page_target(page.project)])["files"]
    assert "provenance" not in without
    assert attested["provenance"] == f"https://registry.example/root/stable/{attested['url'][6:]}.provenance"


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ({"yanked": "broken"}, []),
        ({"provenance": "https://registry.example/"}, []),
        ({"sha256": sha256_of(b"evil")}, ["url", "hashes"]),
        ({"length": 1}, ["size"]),
        ({"requires_python": None}, ["requires-python"]),
        ({"core_metadata_sha256": None}, ["core-metadata"]),
        ({"uploaded_at": UPLOADED - timedelta(microseconds=1)}, ["upload-time"]),
        ({"uploaded_at": UPLOADED + timedelta(days=1)}, []),
        ({"file_name": "widget-2.0.tar.gz"}, ["filename", "url"]),
    ],
)
def test_marks_may_change_and_facts_may_not(change: dict[str, Any], keys: list[str]) -> None:
    """A listed file is compared with its row in everything that installers rely on."""
    file = page_file(LOCAL, requires_python=">=3.9", core_metadata=True)
    signed = encode_file(replace(file, yanked="old", provenance="https://old.example/"))
    assert changed_facts(signed, replace(file, **change)) == keys
    assert changed_facts(orjson.loads(signed), replace(file, **change)) == keys


def test_a_listing_tells_how_a_file_is_listed() -> None:
    """That of a file that is not listed is None."""
    listing, file = Listing([page_file(LOCAL)]), page_file(LOCAL)
    assert listing.entry(file.file_name) == encode_file(file)
    listing.drop(file.file_name)
    assert listing.entry(file.file_name) is None
