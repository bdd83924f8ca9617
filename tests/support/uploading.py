"""The legacy upload form as clients send it, and every way to get it wrong."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from contextlib import nullcontext

import httpx2
from packaging.utils import parse_sdist_filename, parse_wheel_filename


def basic(token: str, user: str = "__token__") -> dict[str, str]:
    """Return the Authorization header of a token, or of a password."""
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()}


def post_file(
    index: str, token: str, file_name: str, content: bytes, client: httpx2.Client | None = None
) -> httpx2.Response:
    """Upload a file as upload tools do, and return the answer.

    Args:
        index: URL of the index, without a trailing slash.
        client: sends it; without one, a client of its own with a minute's patience.
    """
    body, form = form_body(file_name, content)
    with httpx2.Client(timeout=60) if client is None else nullcontext(client) as http:
        return http.post(f"{index}/", content=body, headers=basic(token) | form)


def form_fields(file_name: str, content: bytes) -> dict[str, str]:
    """Return the text fields that belong to a file."""
    if file_name.endswith(".whl"):
        name, version, _, _ = parse_wheel_filename(file_name)
        kind, python = "bdist_wheel", "py3"
    else:
        name, version = parse_sdist_filename(file_name)
        kind, python = "sdist", "source"
    return {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": str(name),
        "version": str(version),
        "filetype": kind,
        "pyversion": python,
        "sha256_digest": hashlib.sha256(content).hexdigest(),
        "blake2_256_digest": hashlib.blake2b(content, digest_size=32).hexdigest(),
    }


def form_body(
    file_name: str, content: bytes, fields: Mapping[str, str] | None = None, *, content_first: bool = False
) -> tuple[bytes, dict[str, str]]:
    """Return a multipart body and its Content-Type header.

    Args:
        fields: the text fields; those of `form_fields` when None.
    """
    boundary = secrets.token_hex(16)
    texts = form_fields(file_name, content) if fields is None else fields
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in texts.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="content"; filename="{file_name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    file_part = head.encode() + content + b"\r\n"
    ordered = [file_part, *parts] if content_first else [*parts, file_part]
    body = b"".join(ordered) + f"--{boundary}--\r\n".encode()
    return body, {"content-type": f"multipart/form-data; boundary={boundary}"}
