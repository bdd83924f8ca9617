"""Merged page documents, the cases that a random graph finds seldom."""

from __future__ import annotations

import orjson
import pytest

from countermark.core.names import FileName, IndexName, NormalizedName
from shared.formats.interface import ProjectPage
from shared.formats.python.merged import Part, merged_document, origin_of, with_provenance
from shared.formats.registry import FORMATS
from tests.unit.formats.pages import page_file

WIDGET = NormalizedName("widget")
TOP, LOW = IndexName("a", "top"), IndexName("a", "low")


def part(index: IndexName, *names: str, status: str = "active") -> Part:
    """Return an index's signed page of some files."""
    page = ProjectPage(index, WIDGET, 3, status, "why", [page_file(name) for name in names])
    return Part(index, next(iter(FORMATS["python"].render(page, ()).values())))


def test_nobody_has_a_page() -> None:
    """A page of no parts lists nothing."""
    assert orjson.loads(merged_document(TOP, WIDGET, 0, [])) == {
        "meta": {"api-version": "1.4", "_last-serial": 0, "_index": "a/top"},
        "name": "widget",
        "versions": [],
        "files": [],
    }


def test_the_state_is_the_nearest_ones() -> None:
    """What a base says of the project's state counts only where nothing nearer has a page."""
    archived = part(LOW, "widget-1.0.tar.gz", status="archived")
    merged = orjson.loads(merged_document(TOP, WIDGET, 1, [part(TOP, "widget-2.0.tar.gz"), archived]))
    assert "project-status" not in merged
    merged = orjson.loads(merged_document(TOP, WIDGET, 1, [archived, part(TOP)]))
    assert merged["project-status"] == {"status": "archived", "reason": "why"}


@pytest.mark.parametrize("hidden", [(), ("widget-1.0.tar.gz",)])
def test_hidden_names(hidden: tuple[str, ...]) -> None:
    """A hidden name is listed by nobody."""
    parts = [part(TOP, "widget-1.0.tar.gz"), part(LOW, "widget-1.0.tar.gz", "widget-2.0.tar.gz")]
    merged = orjson.loads(merged_document(TOP, WIDGET, 1, parts, list(map(FileName, hidden))))
    assert [(file["filename"], origin_of(file, TOP)) for file in merged["files"]] == [
        *([] if hidden else [("widget-1.0.tar.gz", TOP)]),
        ("widget-2.0.tar.gz", LOW),
    ]


def test_versions_that_no_rule_orders() -> None:
    """A version that is none by today's rules comes behind those that are, and breaks nothing."""
    strange = Part(LOW, part(LOW, "widget-0.1.tar.gz").document.replace(b'["0.1"]', b'["2004-stable","0.1"]'))
    merged = orjson.loads(merged_document(TOP, WIDGET, 1, [part(TOP, "widget-1.0.tar.gz"), strange]))
    assert merged["versions"] == ["1.0", "0.1", "2004-stable"]


def test_provenance_below_the_index_that_was_asked() -> None:
    """Where a member signed an absolute URL, and where a mirror's page stands for one, the view's own is printed;
    nothing else changes, and without a secure address the key is left out."""
    signed = b',"provenance":"https://old.test:8443/a/low/+f/abc/0123456789abc/w-1.0%2Bx.tar.gz.provenance"'
    text = b',"yanked":"see \\",\\"provenance\\":\\"https://x/+f/"'
    mirrored = b',"provenance":"../../+f/abc/w.provenance"'
    found = with_provenance(b"{" + signed + text + mirrored + b"}", "https://now.test/a/top/")
    moved = b',"provenance":"https://now.test/a/top/+f/abc/0123456789abc/w-1.0%2Bx.tar.gz.provenance"'
    assert found == b"{" + moved + text + b',"provenance":"https://now.test/a/top/+f/abc/w.provenance"' + b"}"
    assert with_provenance(b"{" + signed + text + mirrored + b"}", None) == b"{" + text + b"}"
