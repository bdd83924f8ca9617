"""A project's description as HTML that can do nothing but be read.

What uploaders wrote is turned into HTML by the library of its format, then reduced to an allow-list: no script, no
style, no form, no picture (a picture would tell another host who reads the page), links to the web only. What cannot
be rendered, or is too long, is shown as text.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape

from shared.formats.python.description import (
    MARKDOWN,
    MAX_MARKDOWN,
    RESTRUCTURED,
    Unrenderable,
    kind_of,
    restructured_html,
)

MAX_SHOWN = 256 << 10
"""Characters of a description that are shown at all."""

_KEPT = 64
"""Rendered descriptions that are remembered."""

_PATIENCE = 2.0
"""Seconds that a page waits until it is its turn to render; then it shows plain text."""

_TAGS = {
    "a", "abbr", "b", "blockquote", "br", "code", "dd", "del", "details", "dl", "dt", "em", "h3", "h4", "h5", "h6",
    "hr", "i", "kbd", "li", "ol", "p", "pre", "q", "s", "samp", "small", "strong", "sub", "summary", "sup", "table",
    "tbody", "td", "tfoot", "th", "thead", "tr", "tt", "ul", "var",
}  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "abbr": {"title"}, "ol": {"start"}, "th": {"colspan", "rowspan", "scope"}} | {
    "td": {"colspan", "rowspan"}
}
_SCHEMES = {"http", "https", "mailto"}
_LOWER = {"h1": "h3", "h2": "h4", "h3": "h5", "h4": "h6", "h5": "h6", "h6": "h6"}
"""Headings move down: the page has a title of its own."""


@dataclass(frozen=True, slots=True)
class Readme:
    """A description ready for the page; `whole` is False when its end was cut off."""

    html: Markup
    whole: bool


class Readmes:
    """Renders descriptions off the event loop and remembers the last ones."""

    def __init__(
        self, *, renderer: Callable[[str, str | None], Readme] | None = None, patience: float = _PATIENCE
    ) -> None:
        self._render = renderer or render
        self._patience = patience
        self._kept: OrderedDict[str, Readme] = OrderedDict()
        self._turn = asyncio.Semaphore(1)

    async def of(self, text: str | None, content_type: str | None) -> Readme | None:
        """Return a description as HTML, as plain text when others' take too long; None when there is none."""
        if text is None or not text.strip():
            return None
        key = hashlib.sha256(f"{content_type}\0{text}".encode("utf-8", "replace")).hexdigest()
        if key not in self._kept:
            # One at a time: rendering is work of this process, and reading a page must not be a lever against it.
            try:
                await asyncio.wait_for(self._turn.acquire(), self._patience)
            except TimeoutError:
                return as_text(text)
            try:
                return await self._rendered(key, text, content_type)
            finally:
                self._turn.release()
        self._kept.move_to_end(key)
        return self._kept[key]

    async def _rendered(self, key: str, text: str, content_type: str | None) -> Readme:
        """Render, unless somebody did so while this one waited for its turn."""
        if key not in self._kept:
            self._kept[key] = await asyncio.to_thread(self._render, text, content_type)
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]


def render(source: str, content_type: str | None) -> Readme:
    """Return a description as safe HTML.

    Args:
        content_type: as in `Description-Content-Type`; reStructuredText when it is missing.
            Source: core metadata specification, "Description-Content-Type".
    """
    whole = len(source) <= MAX_SHOWN
    text = source[:MAX_SHOWN]
    kind = kind_of(content_type)
    html: str | None = None
    if kind == MARKDOWN and len(text) <= MAX_MARKDOWN:
        html = _markdown(text)
    elif kind == RESTRUCTURED:
        html = _restructured(text)
    if html is None:
        return as_text(source)
    return Readme(Markup(_clean(html)), whole)  # noqa: S704 (this is what the sanitiser let through)


def as_text(text: str) -> Readme:
    """Return a description as it was written."""
    shown = Markup('<pre class="plain-text">{}</pre>').format(text[:MAX_SHOWN])
    return Readme(shown, len(text) <= MAX_SHOWN)


def _clean(html: str) -> str:
    return nh3.clean(
        html,
        tags=_TAGS,
        clean_content_tags={"script", "style", "svg", "math", "title", "textarea", "iframe", "object"},
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        url_relative="deny",
        link_rel="nofollow noopener noreferrer",
        strip_comments=True,
    )


def _markdown(text: str) -> str | None:
    parser = MarkdownIt("commonmark", {"html": True, "maxNesting": 20}).enable(["table", "strikethrough"])
    parser.add_render_rule("image", _image)
    try:
        tokens = parser.parse(text)
        for token in tokens:
            if token.type in {"heading_open", "heading_close"}:
                token.tag = _LOWER.get(token.tag, token.tag)
        return str(parser.renderer.render(tokens, parser.options, {}))
    except RecursionError:
        return None


def _image(
    _renderer: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _environment: EnvType
) -> str:
    """Show the words that stand for a picture."""
    return str(escape(tokens[index].content))


def _restructured(text: str) -> str | None:
    try:
        html = restructured_html(text)
    except Unrenderable:
        return None
    for high, low in reversed(_LOWER.items()):
        html = html.replace(f"<{high}>", f"<{low}>").replace(f"</{high}>", f"</{low}>")
    return html
