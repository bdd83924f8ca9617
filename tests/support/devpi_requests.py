"""How requests to devpi's API are written down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.beside import Ask

_BOUNDARY = "5e1f0c8c2b8f4f6f"


def get(name: str, path: str, **more: Any) -> Ask:
    """Return a request that reads."""
    return Ask(name, "GET", path, **more)


def send(name: str, method: str, path: str, document: Any, **more: Any) -> Ask:
    """Return a request with a JSON body."""
    return Ask(name, method, path, json.dumps(document).encode(), **more)


def form(
    name: str, path: str, fields: Mapping[str, str | Sequence[str]], file: tuple[str, bytes] | None = None, **more: Any
) -> Ask:
    """Return a request with an upload form."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, values in fields.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    if file is not None:
        head = f'Content-Disposition: form-data; name="content"; filename="{file[0]}"'
        parts.append(f"--{_BOUNDARY}\r\n{head}\r\n\r\n".encode() + file[1] + b"\r\n")
    body = b"".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])
    headers = {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}
    return Ask(name, "POST", path, body, headers, **more)


def upload(name: str, path: str, file: tuple[str, bytes], version: str, project: str = "hello", **more: Any) -> Ask:
    """Return the upload of a release file as the devpi client sends it, or with a digest as others do."""
    kind = ("bdist_wheel", "py3") if file[0].endswith(".whl") else ("sdist", "source")
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": project,
        "version": version,
        "summary": "Says hello.",
        "requires_python": ">=3.9",
        "classifiers": ["Programming Language :: Python", "Topic :: Utilities"],
        "filetype": kind[0],
        "pyversion": kind[1],
    }
    if more.get("basic") or more.get("credentials"):
        fields["sha256_digest"] = hashlib.sha256(file[1]).hexdigest()
    return form(name, path, fields, file, **more)


def login(name: str, user: str, password: str, path: str = "/+login") -> Ask:
    """Return a login."""
    return send(name, "POST", path, {"user": user, "password": password})


def file_path(index: str, file: tuple[str, bytes]) -> str:
    """Return where a file lies."""
    digest = hashlib.sha256(file[1]).hexdigest()
    return f"/{index}/+f/{digest[:3]}/{digest[3:16]}/{file[0]}"
