"""The pages of the static tree, made in steps."""

from __future__ import annotations

import json
from collections.abc import Generator

from countermark.core.names import page_target
from shared.formats.python.html import page_html
from shared.formats.python.pages import static_link
from shared.formats.python.static import STEP, static_pages
from tests.unit.formats.pages import page_file, project_page, render_all

WHEEL = "widget-1.10-py3-none-any.whl"
LOCAL = "widget-1.9+cu.1-py3-none-any.whl"


def run(steps: Generator[None, None, tuple[bytes, bytes]]) -> tuple[int, tuple[bytes, bytes]]:
    """Run a generator to its end; returns how often it yielded, and what it returned."""
    yields = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return yields, end.value
        yields += 1


def test_relinking_changes_nothing_but_links() -> None:
    """The JSON differs from the signed document in its links alone."""
    page = project_page([page_file(WHEEL, core_metadata=True), page_file(LOCAL)], status="archived")
    document = render_all(page)[page_target(page.project)]
    _, (relinked, _) = run(static_pages(document, static_link))
    sha256 = page.files[1].sha256
    url = f"../../../../../files/{sha256[:2]}/{sha256[2:]}/widget-1.9%2Bcu.1-py3-none-any.whl"
    assert json.loads(relinked)["files"][0]["url"] == url
    before, after = json.loads(document), json.loads(relinked)
    for file in (*before["files"], *after["files"]):
        del file["url"]
    assert before == after
    assert list(before) == list(after)


def test_steps_are_small_and_change_nothing() -> None:
    """However many files there are, no step has more than some; the HTML is that of the page in one go."""
    files = [page_file(f"widget-1.{number}.tar.gz", core_metadata=True) for number in range(2 * STEP + 1)]
    page = project_page(files, status="deprecated", status_reason="old")
    document = render_all(page)[page_target(page.project)]
    yields, (_, html) = run(static_pages(document, static_link))
    assert yields == 1 + 3 + 1
    assert html == page_html(document, static_link)
