"""What Countermark and devpi-server have in common: an index that takes the legacy form and shows project pages."""

from __future__ import annotations

import base64
import http.client
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from bench.errors import NotMeasured
from bench.running import HOST, Running
from bench.wheels import Wheel

_PATIENCE = 60.0
"""Seconds to wait for an answer."""


class Media(Enum):
    """The two forms of a project page: what is asked for, and how a listed file looks."""

    JSON = "application/vnd.pypi.simple.v1+json"
    HTML = "text/html"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        """Media type of the body, with its parameters."""
        return self.headers.get("content-type", "")


@dataclass(frozen=True, slots=True)
class Registry:
    """An index of a running server: `index` is its path, as in "/root/stable"; `user` and `secret` may upload.

    `simple` is where project pages lie below it."""

    name: str
    server: Running
    index: str
    user: str
    secret: str
    simple: str = "+simple"

    def page_path(self, project: str) -> str:
        """Return the path of a project's page."""
        return f"{self.list_path}{project}/"

    @property
    def list_path(self) -> str:
        """Path of the project list."""
        return f"{self.index}/{self.simple}/"

    @property
    def authorization(self) -> str:
        """Value of the Authorization header that may upload."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()

    def upload(self, wheel: Wheel) -> None:
        """Upload a wheel by the legacy form, as one request on a connection of its own.

        Raises:
            NotMeasured: it is not answered with 200.
        """
        content_type, body = form_of(wheel)
        answer = self.request("POST", f"{self.index}/", {"Content-Type": content_type}, body)
        if answer.status != http.HTTPStatus.OK:
            text = answer.body[:300].decode(errors="replace").strip()
            raise NotMeasured(f"{self.name} answers {answer.status} to the upload of {wheel.filename}: {text}")

    def page(self, project: str, media: Media) -> Answer:
        """Return a project's page.

        Raises:
            NotMeasured: it is not answered with 200 in the form that was asked for.
        """
        answer = self.request("GET", self.page_path(project), {"Accept": media.value})
        if answer.status != http.HTTPStatus.OK or answer.content_type.partition(";")[0] != media.value:
            raise NotMeasured(f"{self.name} answers {answer.status} {answer.content_type} to {media.name} of {project}")
        return answer

    def listed(self, project: str, media: Media) -> set[str]:
        """Return the file names on a project's page."""
        body = self.page(project, media).body
        if media is Media.JSON:
            return {file["filename"] for file in json.loads(body)["files"]}
        return set(re.findall(r"<a[^>]*>\s*([^<]+?)\s*</a>", body.decode()))

    def request(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> Answer:
        """Send one request with this registry's credentials, on a connection of its own."""
        connection = http.client.HTTPConnection(HOST, self.server.port, timeout=_PATIENCE)
        try:
            connection.request(method, path, body, {"Authorization": self.authorization, **headers})
            answer = connection.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, fields, answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise NotMeasured(f"{self.name} does not answer {method} {path}: {error!r}") from error
        finally:
            connection.close()


def form_of(wheel: Wheel) -> tuple[str, bytes]:
    """Return the content type and the body of the form that uploads a wheel."""
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": wheel.project,
        "version": wheel.version,
        "filetype": "bdist_wheel",
        "pyversion": "py3",
        "requires_python": ">=3.9",
        "sha256_digest": wheel.sha256,
    }
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'Content-Disposition: form-data; name="content"; filename="{wheel.filename}"'
    parts.append(f"--{boundary}\r\n{head}\r\nContent-Type: application/octet-stream\r\n\r\n".encode())
    parts.append(wheel.content + f"\r\n--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)
