"""Builds multipart/form-data bodies, well-formed and hostile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

BOUNDARY = "----countermark-tests-0123456789"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Part:
    """One part: `headers` are whole lines, without line ends."""

    headers: Sequence[bytes]
    data: bytes


def text_part(name: str, value: str) -> Part:
    """Return a text field as twine sends it."""
    return Part([b'Content-Disposition: form-data; name="' + name.encode() + b'"'], value.encode())


def file_part(file_name: str, data: bytes, name: str = "content") -> Part:
    """Return a file as twine sends it."""
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="{file_name}"'
    return Part([disposition.encode(), b"Content-Type: application/octet-stream"], data)


def form_body(parts: Sequence[Part], *, boundary: str = BOUNDARY) -> bytes:
    """Return a whole body."""
    line = b"--" + boundary.encode()
    written = [line + b"\r\n" + b"\r\n".join(part.headers) + b"\r\n\r\n" + part.data + b"\r\n" for part in parts]
    return b"".join(written) + line + b"--\r\n"


async def chunked(data: bytes, size: int = 65_536) -> AsyncIterator[bytes]:
    """Yield `data` in chunks of `size` bytes, as a server's request stream does."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
