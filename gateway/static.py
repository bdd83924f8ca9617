"""Files that browsers load beside pages: each under an address that changes with its bytes, so they are kept for good.

The one script comes from an installed package, never from this tree (ADR 0010). Where the package is absent the pages
carry no script and their policy allows none.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib import metadata

from starlette.requests import Request
from starlette.responses import Response

SCRIPT_PACKAGE = "django-htmx"
"""The package that carries htmx (0BSD) as a file; it is installed for that file alone and not imported."""

SCRIPT_FILE = "htmx-2.min.js"
"""The file's name in the package."""

MAX_SCRIPT = 256 << 10
"""Bytes of a script: what is larger is not what the lock names."""


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file with its address; `media_type` as in `Content-Type`."""

    name: str
    content: bytes
    media_type: str

    @property
    def path(self) -> str:
        """Where it is; unchangeable for as long as its bytes are."""
        return f"/static/{hashlib.sha256(self.content).hexdigest()[:16]}/{self.name}"

    @property
    def integrity(self) -> str:
        """What the browser compares the bytes with. Source: Subresource Integrity, section 3.1."""
        return "sha384-" + base64.b64encode(hashlib.sha384(self.content).digest()).decode()

    async def answer(self, _request: Request) -> Response:
        """Answer the file."""
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(self.content, media_type=self.media_type, headers=headers)


def packaged_script(package: str = SCRIPT_PACKAGE, file_name: str = SCRIPT_FILE) -> StaticFile | None:
    """Return the script that an installed package carries; None when there is none that can be read."""
    try:
        listed = metadata.files(package) or ()
        found = next(path for path in listed if path.name == file_name)
        content = found.read_binary()
    except (metadata.PackageNotFoundError, StopIteration, OSError):
        return None
    if not 0 < len(content) <= MAX_SCRIPT:
        return None
    return StaticFile("htmx.js", content, "text/javascript; charset=utf-8")
