"""HTML pages: every attribute of the contract, everything escaped."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import orjson
import pytest

from countermark.core.names import page_target
from shared.formats.interface import ProjectPage
from shared.formats.python.html import page_html, project_list_html
from shared.formats.python.pages import project_list_json, signed_link, static_link
from tests.unit.formats.pages import page_file, project_page, render_all

WHEEL = "widget-1.0+l-py3-none-any.whl"


class _Page(HTMLParser):
    """Collects what a client sees of a page."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.meta: dict[str, str | None] = {}
        self.anchors: list[dict[str, str | None]] = []
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.comments: list[str] = []
        self.feed(html.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        attributes = dict(attrs)
        if tag == "meta" and "name" in attributes:
            self.meta[attributes["name"] or ""] = attributes["content"]
        if tag == "a":
            self.anchors.append(attributes)

    def handle_data(self, data: str) -> None:
        if self.lasttag == "a" and data.strip():
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def _document(page: ProjectPage) -> bytes:
    return render_all(page)[page_target(page.project)]


def test_an_anchor_has_every_attribute() -> None:
    """Clients that read HTML only learn the same as those that read JSON."""
    file = page_file(WHEEL, requires_python=">=3.8,<4", yanked="", core_metadata=True)
    html = page_html(_document(project_page([file])), signed_link)
    page = _Page(html)
    core = f"sha256={file.core_metadata_sha256}"
    assert page.anchors == [
        {
            "href": f"../../+f/{file.sha256[:3]}/{file.sha256[3:16]}/widget-1.0%2Bl-py3-none-any.whl"
            f"#sha256={file.sha256}",
            "data-requires-python": ">=3.8,<4",
            "data-yanked": "",
            "data-dist-info-metadata": core,
            "data-core-metadata": core,
            "data-upload-time": "2026-03-04T05:06:07.000089Z",
            "data-size": str(len(WHEEL)),
        }
    ]
    assert b'data-requires-python="&gt;=3.8,&lt;4"' in html
    assert page.texts == [WHEEL]
    assert page.meta == {"pypi:repository-version": "1.4"}
    assert html.endswith(b"</html>\n<!--SERIAL 7-->\n")


def test_attributes_without_a_value_are_left_out() -> None:
    """A plain source archive has no more than link, time and size."""
    page = _Page(page_html(_document(project_page([page_file("widget-1.0.tar.gz")])), signed_link))
    assert set(page.anchors[0]) == {"href", "data-upload-time", "data-size"}


def test_links_are_those_asked_for() -> None:
    """The static tree's HTML has the static tree's links."""
    file = page_file("widget-1.0.tar.gz")
    page = _Page(page_html(_document(project_page([file])), static_link))
    link = f"../../../../../files/{file.sha256[:2]}/{file.sha256[2:]}/widget-1.0.tar.gz#sha256={file.sha256}"
    assert page.anchors[0]["href"] == link


def test_a_status_is_in_meta_tags() -> None:
    """Status and reason stand where PEP 792 puts them."""
    page = _Page(page_html(_document(project_page([], status="archived", status_reason='a "b"')), signed_link))
    assert page.meta["pypi:project-status"] == "archived"
    assert page.meta["pypi:project-status-reason"] == 'a "b"'
    page = _Page(page_html(_document(project_page([], status="deprecated")), signed_link))
    assert page.meta == {"pypi:repository-version": "1.4", "pypi:project-status": "deprecated"}


def test_everything_is_escaped() -> None:
    """No value of a page document, whoever wrote it, can end an attribute or begin a tag."""
    evil = "\"'><script>alert(1)</script><!--"
    document = {
        "meta": {"_last-serial": 1},
        "name": evil,
        "project-status": {"status": evil, "reason": evil},
        "files": [
            {
                "filename": evil,
                "url": evil,
                "hashes": {"sha256": evil},
                "requires-python": evil,
                "yanked": evil,
                "core-metadata": {"sha256": evil},
                "provenance": evil,
                "upload-time": evil,
                "size": 1,
            }
        ],
    }
    page = _Page(page_html(orjson.dumps(document), lambda sha256, name: f"{name}/{sha256}"))
    assert "script" not in page.tags
    assert page.comments == ["SERIAL 1"]
    anchor = page.anchors[0]
    assert anchor["href"] == f"{evil}/{evil}#sha256={evil}"
    assert anchor["data-yanked"] == anchor["data-requires-python"] == anchor["data-provenance"] == evil
    assert anchor["data-core-metadata"] == f"sha256={evil}"
    assert page.meta["pypi:project-status"] == evil


@pytest.mark.parametrize(
    ("value", "expected"), [(True, "true"), ({"sha256": "ab"}, "sha256=ab"), (False, None), (None, None)]
)
def test_core_metadata_of_merged_pages(value: object, expected: str | None) -> None:
    """Other indexes advertise metadata without a digest, or say explicitly that there are none."""
    file = {"filename": "a", "hashes": {"sha256": "x"}, "core-metadata": value}
    document = {"meta": {"_last-serial": 1}, "name": "a", "files": [file]}
    anchor = _Page(page_html(orjson.dumps(document), signed_link)).anchors[0]
    assert anchor.get("data-core-metadata") == anchor.get("data-dist-info-metadata") == expected


def test_project_lists() -> None:
    """Both forms name every project, in the order given, with relative links."""
    projects = [("a-b", 3), ("widget", 7)]
    listed = json.loads(project_list_json(9, projects))
    assert listed == {
        "meta": {"api-version": "1.4", "_last-serial": 9},
        "projects": [{"name": "a-b", "_last-serial": 3}, {"name": "widget", "_last-serial": 7}],
    }
    html = project_list_html(9, [*projects, ("<x>", 1)])
    page = _Page(html)
    assert [anchor["href"] for anchor in page.anchors] == ["a-b/", "widget/", "<x>/"]
    assert html.endswith(b"<!--SERIAL 9-->\n")
