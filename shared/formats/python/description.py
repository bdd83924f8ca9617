"""The description in core metadata: which kind of text it is, and whether it can be rendered as that. Pure.

Source: core metadata specification, "Description-Content-Type"; python-index contract sections 2.3 (row 5) and 2.5
(point 6).
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from email.message import Message
from typing import Any

MARKDOWN, RESTRUCTURED = "text/markdown", "text/x-rst"

MAX_MARKDOWN = 128 << 10
"""Characters of Markdown that are rendered: a tenth of a second of work."""

MAX_RST = 48 << 10
"""Characters of reStructuredText that are rendered: a second of work for the worst of 40 sources made to be slow."""

_MAX_KIND = 200
_COMPLAINT = re.compile(r"<string>:(\d*): \([A-Z]+/\d\) (.+)")
_MAX_COMPLAINT = 160


class Unrenderable(ValueError):
    """A text that its format's library refuses; the message is the library's first complaint, in ASCII."""


def kind_of(content_type: str | None) -> str:
    """Return the media type of a description without its parameters; reStructuredText when none is stated."""
    header = Message()
    header["content-type"] = " ".join((content_type or RESTRUCTURED)[:_MAX_KIND].split())
    return header.get_content_type()


def restructured_html(text: str) -> str:
    """Return reStructuredText as HTML that is not yet safe to show. Takes CPU time: run it off the event loop.

    Raises:
        Unrenderable: it has a fault, renders to nothing, or is longer than `MAX_RST`.
    """
    # Heavy, and most descriptions are Markdown.
    from readme_renderer import rst  # noqa: PLC0415

    if len(text) > MAX_RST:
        raise Unrenderable(f"it is longer than {MAX_RST} characters")
    told = io.StringIO()
    try:
        html = rst.render(text, stream=told)
    except (RecursionError, ValueError, LookupError, TypeError, AttributeError) as error:
        # The library raises these for some broken sources instead of its own error.
        raise Unrenderable("it is nested or written in a way that its library cannot read") from error
    if html is None:
        raise Unrenderable(_complaint(told.getvalue()))
    return html


def description_fault(fields: Mapping[str, Any]) -> str | None:
    """Return why a description will be shown as plain text though it says to be more; None when it renders, or there is
    none.

    Args:
        fields: `packaging.metadata.RawMetadata` keys.
    """
    text = fields.get("description")
    if not isinstance(text, str) or not text.strip():
        return None
    kind = kind_of(fields.get("description_content_type"))
    if kind == MARKDOWN and len(text) > MAX_MARKDOWN:
        return f"as Markdown: it is longer than {MAX_MARKDOWN} characters"
    if kind != RESTRUCTURED:
        return None
    try:
        restructured_html(text)
    except Unrenderable as error:
        return f"as reStructuredText: {error}"
    return None


def _complaint(told: str) -> str:
    found = _COMPLAINT.search(told)
    if found is None:
        return "it renders to nothing"
    line = f"line {found[1]}: " if found[1] else ""
    return line + ascii(found[2][:_MAX_COMPLAINT])[1:-1].rstrip(".")
