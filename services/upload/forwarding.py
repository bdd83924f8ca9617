"""A push to the upload URL of another server: `submit` if it is asked for, each file, then the documentation.

Only to places that the operator lists (`shared.outside`), at addresses that were checked before the connection is made
and are then connected to, without redirects, for a bounded time. Credentials are those of the request; they are sent
there and nowhere written. Bytes stream from the store and are hashed under way: one that changed there is never sent
whole. Nothing is held meanwhile that a request to this very server could wait for.

Source: contract devpi section 11; architecture section 10; ADR 0024.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from http import HTTPStatus

import httpx2
import structlog

from countermark.core.digest import Sha256
from countermark.core.names import FileName
from services.upload import outgoing
from services.upload import push_rules as rules
from services.upload.parcel import Parcel
from services.upload.push_rules import ActionLine, Forwarding, Push
from services.upload.pushing import look_again
from shared.auth.directory import IndexRecord
from shared.catalogue.promotion_rows import Carried
from shared.errors import ErrorKind, ServiceError
from shared.objects.interface import ObjectStore, ObjectStoreError
from shared.objects.keys import file_key
from shared.outside import Destination, InvalidDestination, Outside, parse_destination
from shared.resources import Resources

log = structlog.get_logger()

_STEP_TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
"""Seconds without a byte, and to connect."""

_MAX_ANSWER = 64 << 10
"""Bytes of an answer that are read."""

_MAX_TOLD = 1000
"""Characters of an answer that the client is told."""

_GOOD = frozenset({HTTPStatus.OK, HTTPStatus.CREATED})


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    text: str


@dataclass(frozen=True, slots=True)
class _Content:
    """A file to send: its name, and its bytes in the store."""

    name: str
    store: ObjectStore
    sha256: Sha256
    length: int

    async def chunks(self, head: bytes, end: bytes) -> AsyncIterator[bytes]:
        """Yield a body that has the file between two pieces; raises before its end when the bytes are not its own."""
        yield head
        digest = hashlib.sha256()
        async with self.store.open(file_key(self.sha256, FileName(self.name))) as opened:
            async for chunk in opened.chunks:
                digest.update(chunk)
                yield chunk
        if digest.hexdigest() != self.sha256:
            raise ObjectStoreError(f"{self.name} has other bytes than the catalogue says")
        yield end


class _Failed(Exception):
    """A step could not be done, and none is tried after it; the message is for the client."""

    def __init__(self, step: str, message: str) -> None:
        self.step = step
        super().__init__(message)


class _Place:
    """Another server's upload URL, for one push; `until` is on the event loop's clock."""

    def __init__(
        self,
        transport: httpx2.AsyncHTTPTransport,
        destination: Destination,
        asked: Forwarding,
        outside: Outside,
        *,
        until: float,
    ) -> None:
        self._transport = transport
        self._destination = destination
        self._outside = outside
        self._until = until
        pair = f"{asked.username}:{asked.password}".encode()
        self._authorization = f"Basic {base64.b64encode(pair).decode()}"
        self._addresses: list[str] = []
        self.register = asked.register

    async def post(self, step: str, fields: Iterable[tuple[str, str]], content: _Content | None = None) -> _Answer:
        """Send a form.

        Args:
            step: what it is for, as the client is told when it fails.

        Raises:
            _Failed: there is no answer.
        """
        try:
            async with asyncio.timeout_at(self._until):
                return await self._post(list(fields), content)
        except TimeoutError as error:
            raise _Failed(step, "it takes longer than this server waits: uploads.push_seconds") from error
        except (httpx2.HTTPError, OSError, ObjectStoreError) as error:
            raise _Failed(step, f"{type(error).__name__}: {str(error)[:300]}") from error

    async def _post(self, fields: list[tuple[str, str]], content: _Content | None) -> _Answer:
        if not self._addresses:
            self._addresses = await self._resolved()
        boundary = secrets.token_hex(24)
        while True:
            try:
                response = await self._transport.handle_async_request(self._request(fields, content, boundary))
                break
            except httpx2.ConnectError:
                # The next address from now on; nothing was sent.
                if len(self._addresses) == 1:
                    raise
                del self._addresses[0]
        try:
            return _Answer(response.status_code, await _text_of(response))
        finally:
            await response.aclose()

    def _request(self, fields: list[tuple[str, str]], content: _Content | None, boundary: str) -> httpx2.Request:
        head = outgoing.form_head(fields, boundary, None if content is None else content.name)
        end = outgoing.form_end(boundary, after_file=content is not None)
        length = len(head) + len(end) + (0 if content is None else content.length)
        to = self._destination
        return httpx2.Request(
            "POST",
            # To the address that was checked: the name could mean another one by now.
            httpx2.URL(scheme=to.scheme, host=self._addresses[0], port=to.port, path=to.path),
            headers={
                "Host": to.authority,
                "Authorization": self._authorization,
                "Content-Type": f"multipart/form-data; boundary={boundary}",
                "Content-Length": str(length),
                "User-Agent": "countermark-push",
            },
            content=head + end if content is None else content.chunks(head, end),
            extensions={"timeout": _STEP_TIMEOUT.as_dict(), "sni_hostname": to.host},
        )

    async def _resolved(self) -> list[str]:
        """Return the addresses of the host, all of them allowed."""
        to = self._destination
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(where[4][0]) for where in found))
        refused = [address for address in addresses if not self._outside.allows(to, address)]
        if refused or not addresses:
            raise OSError(f"{to.host} has the address {', '.join(refused)}, which is not public and not listed")
        return addresses


Look = Callable[[Sequence[Carried]], Awaitable[None]]
"""Raises `ServiceError` when the source no longer has files of a push, or holds them."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Where files come from: the index's name, what keeps their bytes, and the look before each."""

    name: str
    store: ObjectStore
    look: Look


async def _steps(place: _Place, source: _Source, push: Push, parcel: Parcel, lines: list[ActionLine]) -> None:
    """Do what a push asks for, one form after the other; adds to `lines` what the client is told of each.

    Raises:
        _Failed: a step has no answer.
    """
    about = outgoing.metadata_fields(parcel.release)
    if place.register:
        answer = await place.post("register", [(":action", "submit"), *about])
        lines.append((answer.status, "register", push.name, push.version))
        if answer.status not in _GOOD | {HTTPStatus.GONE}:
            return
    for file in parcel.files:
        await _look(source.look, "release upload", [file])
        form = [(":action", "file_upload"), *outgoing.file_fields(file), *about]
        answer = await place.post(
            "release upload", form, _Content(file.file_name, source.store, file.sha256, file.length)
        )
        path = rules.file_path(source.name, file.path_key, file.file_name)
        lines.append((answer.status, "upload", path, "" if answer.status in _GOOD else answer.text))
    for doc in parcel.attachments:
        if doc.file_id is None:
            await _look(source.look, "documentation upload", [])
            form = [(":action", "doc_upload"), *about]
            content = _Content(doc.file_name, source.store, doc.sha256, doc.length)
            answer = await place.post("documentation upload", form, content)
            lines.append((answer.status, "docfile", push.name))


async def _look(look: Look, step: str, files: Sequence[Carried]) -> None:
    try:
        await look(files)
    except ServiceError as error:
        raise _Failed(step, error.detail) from error


async def _text_of(response: httpx2.Response) -> str:
    """Return the beginning of an answer, as one line of text."""
    content = b""
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    async for chunk in response.stream:
        content += chunk
        if len(content) > _MAX_ANSWER:
            break
    return " ".join(content.decode("utf-8", "replace").split())[:_MAX_TOLD]


def _left_behind(parcel: Parcel) -> list[ActionLine]:
    """Return what the client is told of attestations: what the other server would make of them is not known here."""
    counts = Counter(one.file_id for one in parcel.attestations)
    words = "not sent: add them to the file there"
    return [
        (HTTPStatus.OK, "attestations", f"{counts[file.id]} of {file.file_name}", words)
        for file in parcel.files
        if counts[file.id]
    ]


class Forwarder:
    """The use case of pushing to another server."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Reading the system's certificates takes tens of milliseconds: once, and only where it is needed.
        return ssl.create_default_context()

    async def forward(self, source: IndexRecord, push: Push, parcel: Parcel) -> tuple[bool, list[ActionLine]]:
        """Send a release to another server; returns whether the last step was taken well, and what was done.

        Raises:
            rules.InvalidPush: the document is not complete.
            ServiceError: invalid, when the URL is none that is understood; forbidden, when it is not listed.
        """
        asked = rules.forwarding_of(push)
        destination = self._listed(asked.posturl)
        settings = self._resources.settings.uploads
        began = asyncio.get_running_loop().time()
        tls = self._tls if destination.scheme == "https" else False
        lines: list[ActionLine] = []
        async with httpx2.AsyncHTTPTransport(verify=tls, trust_env=False) as transport:
            place = _Place(transport, destination, asked, settings.outside, until=began + settings.push_seconds)
            store = self._resources.objects.side(public=source.public)
            origin = _Source(str(source.name), store, partial(self.look, source, parcel))
            try:
                await _steps(place, origin, push, parcel, lines)
            except _Failed as error:
                lines.append((-1, f"exception on {error.step}:", str(error)))
        done = lines[-1][0] in _GOOD
        lines += _left_behind(parcel)
        seconds = round(asyncio.get_running_loop().time() - began, 3)
        log.info("release_forwarded", source=str(source.name), host=destination.authority, done=done, seconds=seconds)
        return done, lines

    async def look(self, source: IndexRecord, parcel: Parcel, files: Sequence[Carried]) -> None:
        """Return when the source still hands out some files; nothing stays locked."""
        docs = [] if files else [one for one in parcel.attachments if one.file_id is None]
        async with self._resources.engine.connect() as connection:
            await look_again(connection, source, replace(parcel, files=files, attachments=docs))

    def _listed(self, url: str) -> Destination:
        try:
            destination = parse_destination(url)
        except InvalidDestination as error:
            words = f"The key posturl is no URL that is pushed to: {error}."
            raise ServiceError(ErrorKind.INVALID, words) from error
        if self._resources.settings.uploads.outside.place_of(destination) is None:
            words = "This server does not push there: its operator can list the URL in the setting uploads.push_to."
            raise ServiceError(ErrorKind.FORBIDDEN, words)
        return destination
