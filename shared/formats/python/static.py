"""The pages of the static tree, made from a page document in small steps. Pure.

Source: architecture sections 6 and 11.4.
"""

from __future__ import annotations

from collections.abc import Generator

import orjson

from countermark.core.digest import Sha256
from countermark.core.names import FileName
from shared.formats.interface import Link
from shared.formats.python.html import anchor, whole_page

STEP = 200
"""Files of one step: a millisecond or two, in which nothing else of the process runs."""


def static_pages(document: bytes, link: Link) -> Generator[None, None, tuple[bytes, bytes]]:
    """Return a page document with other links, and the HTML page of the same: JSON, HTML.

    It yields between steps, so that whoever runs it can let others have their turn: a page of ten thousand files takes
    a quarter of a second.

    Args:
        document: a page document, signed or merged.
        link: how to write the URL of a file; the document's own links are not used.
    """
    page = orjson.loads(document)
    yield
    files, anchors = page["files"], []
    for start in range(0, len(files), STEP):
        for file in files[start : start + STEP]:
            file["url"] = link(Sha256(file["hashes"]["sha256"]), FileName(file["filename"]))
            anchors.append(anchor(file, file["url"]))
        yield
    json_page = orjson.dumps(page)
    yield
    return json_page, whole_page(page, anchors)
