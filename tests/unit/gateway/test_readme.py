"""Descriptions that strangers wrote are shown, and can do nothing."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dashboard.readme import MAX_SHOWN, Readme, Readmes, render
from shared.formats.python.description import MAX_MARKDOWN, MAX_RST

HOSTILE = """
<script>alert(1)</script> <img src=x onerror=alert(1)> <a href="javascript:alert(1)">a</a> <style>*{}</style>
<p style="position:fixed" onclick="x()" class="card" id="content">p</p> <form action="/logout"><button>b</button></form>
<iframe src="https://example.org"></iframe> <svg onload=alert(1)></svg> <a href="/logout">local</a> <b>kept</b>

![words](https://example.org/pixel.png) [web](https://example.org "t") [data](data:text/html,x)
"""
HOSTILE_RST = """
.. raw:: html

   <script>alert(1)</script>

.. include:: /etc/passwd

`link <javascript:alert(1)>`_ and **bold**
"""


@pytest.mark.parametrize(
    "kind", ["text/markdown", "text/markdown; variant=CommonMark", "text/x-rst", "text/plain", None]
)
def test_nothing_in_it_acts(kind: str | None) -> None:
    """No script, style, form, frame, picture, event or address that is not the web's survives, in any format."""
    for source in (HOSTILE, HOSTILE_RST):
        html = render(source, kind).html
        for bad in (
            "<script",
            "<style",
            "<img",
            "<form",
            "<iframe",
            "<svg",
            'href="javascript',
            'href="data',
            'href="/',
        ):
            assert bad not in html
        for bad in ("<p style", "<p class", "<p id", "<p onclick"):
            assert bad not in html
        assert "root:" not in html


def test_markdown_becomes_html() -> None:
    """Tables, code, emphasis and links are there; headings begin below the page's own; pictures become their words."""
    html = render("# One\n\n|a|b|\n|-|-|\n|1|2|\n\n`x` [web](https://example.org)\n" + HOSTILE, "text/markdown").html
    for good in ("<h3>One</h3>", "<table>", "<td>1</td>", "<code>x</code>", "<b>kept</b>", "words"):
        assert good in html
    assert '<a href="https://example.org" rel="nofollow noopener noreferrer">web</a>' in html


def test_restructured_text_becomes_html_or_stays_text() -> None:
    """It is also what a missing type means; what its library refuses is shown as it was written."""
    html = render("Title\n=====\n\n**bold** and `web <https://example.org>`_\n", None).html
    assert "<strong>bold</strong>" in html
    assert 'href="https://example.org"' in html
    assert render(HOSTILE_RST, "text/x-rst").html.startswith("<pre")


def test_plain_text_is_escaped() -> None:
    """Nothing of it is markup."""
    assert render("<b>&", "text/plain").html == '<pre class="plain-text">&lt;b&gt;&amp;</pre>'


def test_what_is_too_long_is_text_and_then_cut() -> None:
    """Rendering has a bound, and so has what is shown at all."""
    assert render("x" * (MAX_MARKDOWN + 1), "text/markdown").html.startswith("<pre")
    assert render("x" * (MAX_RST + 1), "text/x-rst").html.startswith("<pre")
    cut = render("x" * (MAX_SHOWN + 1), "text/plain")
    assert not cut.whole
    assert len(cut.html) < MAX_SHOWN + 100


@pytest.mark.parametrize(
    "source", ["[" * 50_000, "> " * 40_000, "*a_" * 30_000, "<" * 60_000, "`" * 60_000, "- " * 40_000]
)
def test_hard_markdown_is_done_in_time(source: str) -> None:
    """What makes parsers slow does not."""
    started = time.process_time()
    render(source, "text/markdown")
    assert time.process_time() - started < 5


@given(st.text(max_size=300), st.sampled_from(["text/markdown", "text/x-rst", "text/plain", None, "odd/\r\nkind", "é"]))
def test_anything_can_be_shown(source: str, kind: str | None) -> None:
    """No text and no type of an uploader's makes the page fail."""
    assert "<script" not in render(source, kind).html


async def test_a_description_is_rendered_once() -> None:
    """The same text gives the same object; no text gives none."""
    readmes = Readmes()
    assert await readmes.of("*a*", "text/markdown") is await readmes.of("*a*", "text/markdown")
    assert await readmes.of(" \n", "text/markdown") is None
    assert await readmes.of(None, None) is None


async def test_of_many_who_ask_at_once_one_renders() -> None:
    """Whoever waited for the turn takes what the one before has made of the same text."""
    done: list[str] = []

    def counted(text: str, kind: str | None) -> Readme:
        done.append(text)
        return render(text, kind)

    readmes = Readmes(renderer=counted)
    shown = await asyncio.gather(*(readmes.of("*a*", "text/markdown") for _ in range(50)))
    assert done == ["*a*"]
    assert all(readme is shown[0] for readme in shown)


async def test_who_waits_too_long_is_shown_the_text() -> None:
    """A page does not wait for others' descriptions without end, and the next look may be a better one."""
    go_on = threading.Event()

    def slow(text: str, kind: str | None) -> Readme:
        go_on.wait(10)
        return render(text, kind)

    readmes = Readmes(renderer=slow, patience=0.01)
    first = asyncio.create_task(readmes.of("*slow*", "text/markdown"))
    await asyncio.sleep(0)
    text = await readmes.of("*a* <b>", "text/markdown")
    go_on.set()
    assert text is not None
    assert text.html == '<pre class="plain-text">*a* &lt;b&gt;</pre>'
    assert (await first) is await readmes.of("*slow*", "text/markdown")
    again = await readmes.of("*a* <b>", "text/markdown")
    assert again is not None
    assert "<em>a</em>" in again.html
