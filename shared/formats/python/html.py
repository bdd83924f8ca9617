"""The HTML pages of the simple index, derived from page documents. Pure.

HTML is frozen at repository version 1.4; everything put into it is escaped.
Source: PEP 503, PEP 833; python-index contract section 1.3 ("HTML attributes").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

import orjson

from countermark.core.digest import Sha256
from countermark.core.names import FileName
from shared.formats.interface import Link
from shared.formats.python.packed_lists import Row, parted
from shared.formats.python.pages import API_VERSION


def page_html(document: bytes, link: Link) -> bytes:
    """Return the HTML page of a page document.

    Args:
        document: a page document, signed or merged.
        link: how to write the URL of a file; the document's own links are not used.
    """
    page = orjson.loads(document)
    urls = (link(Sha256(file["hashes"]["sha256"]), FileName(file["filename"])) for file in page["files"])
    return whole_page(page, [anchor(file, url) for file, url in zip(page["files"], urls, strict=True)])


def whole_page(page: Mapping[str, Any], anchors: Sequence[str]) -> bytes:
    """Return the HTML page of a page document that was read, with the `anchor` of each of its files."""
    title = f"Links for {escape(page['name'])}"
    lines = [*_head(title, page.get("project-status")), f"    <h1>{title}</h1>", *anchors]
    return _page(lines, page["meta"]["_last-serial"])


def project_list_html(serial: int, projects: Iterable[Row]) -> bytes:
    """Return the project list as HTML, with links relative to it; arguments as for `project_list_json`."""
    return b"".join(project_list_html_parts(serial, parted(projects)))


def project_list_html_parts(serial: int, parts: Iterable[Sequence[Row]]) -> Iterator[bytes]:
    """Yield what `project_list_html` returns, bit by bit."""
    yield _lines(_head("Simple index", None))
    for part in parts:
        names = [escape(name) for name, _ in part]
        yield _lines(f'    <a href="{name}/">{name}</a><br>' for name in names)
    yield _tail(serial)


def _head(title: str, status: Mapping[str, str] | None) -> list[str]:
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "  <head>",
        '    <meta charset="utf-8">',
        f'    <meta name="pypi:repository-version" content="{API_VERSION}">',
    ]
    if status is not None:
        lines.append(f'    <meta name="pypi:project-status" content="{escape(status["status"])}">')
        if "reason" in status:
            lines.append(f'    <meta name="pypi:project-status-reason" content="{escape(status["reason"])}">')
    return [*lines, f"    <title>{title}</title>", "  </head>", "  <body>"]


def _page(lines: list[str], serial: int) -> bytes:
    return _lines(lines) + _tail(serial)


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _tail(serial: int) -> bytes:
    return _lines(["  </body>", "</html>", f"<!--SERIAL {int(serial)}-->"])


def anchor(file: Mapping[str, Any], url: str) -> str:
    """Return the line of a file, as its page document lists it, that links to `url`."""
    attributes = [f'href="{escape(url)}#sha256={escape(file["hashes"]["sha256"])}"']
    if file.get("requires-python"):
        attributes.append(f'data-requires-python="{escape(file["requires-python"])}"')
    yanked = file.get("yanked", False)
    if yanked is not False:
        attributes.append(f'data-yanked="{"" if yanked is True else escape(yanked)}"')
    core = file.get("core-metadata")
    if core:
        value = f"sha256={escape(core['sha256'])}" if isinstance(core, dict) else "true"
        attributes += [f'data-dist-info-metadata="{value}"', f'data-core-metadata="{value}"']
    if file.get("provenance"):
        attributes.append(f'data-provenance="{escape(file["provenance"])}"')
    if "upload-time" in file:
        attributes.append(f'data-upload-time="{escape(file["upload-time"])}"')
    if "size" in file:
        attributes.append(f'data-size="{int(file["size"])}"')
    return f"    <a {' '.join(attributes)}>{escape(file['filename'])}</a><br>"
