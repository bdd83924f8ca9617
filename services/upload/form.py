"""Reads the legacy upload form from a request body as it arrives.

Text fields are collected under limits; the file goes to a temporary one while it is hashed (`services.upload.spool`).
The order of the parts does not matter, and nothing is decided before the body has ended.

Source: python-index contract sections 2.1 and 2.5 (point 5); RFC 7578; RFC 2046 section 5.1.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, InvalidName, parse_file_name
from services.upload.spool import Spool
from shared.errors import ErrorKind, ServiceError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

CONTENT = "content"
"""The field that holds the file."""

IGNORED_FILES = frozenset(["gpg_signature"])
"""File parts that are read and dropped. Source: python-index contract section 2.1."""

_MEBIBYTE = 1 << 20
_STEP_BYTES = 256 * 1024  # Parsed between two chances for other requests; what arrives at once is not cut up.
_MAX_HEADERS = 8
_MAX_HEADER_BYTES = 4096
_MAX_FIELD_NAME = 128
_UNKNOWN = "UNKNOWN"  # What old tools write for a value they do not have.

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_KIND = re.compile(r"[ \t]*([A-Za-z0-9!#$&^_.+/-]+)[ \t]*")
_PARAMETER = re.compile(r';[ \t]*([A-Za-z0-9!#$%&\'*+.^_`|~-]+)=("[^"]*"|[^\s";]*)[ \t]*')
_PLAIN_ENCODINGS = frozenset(["binary", "8bit", "7bit"])


@dataclass(frozen=True, slots=True)
class FormLimits:
    """How much of a form is taken.

    Attributes:
        max_field_bytes: bytes of one text field (real descriptions have megabytes).
        max_text_bytes: bytes of all text fields, and of parts that are dropped, together.
        max_fields: parts of the form (real releases have more than a thousand requirements).

    Source: python-index contract section 2.1 ("Starlette trap").
    """

    max_field_bytes: int = 16 * _MEBIBYTE
    max_text_bytes: int = 32 * _MEBIBYTE
    max_fields: int = 10_000

    @property
    def max_overhead_bytes(self) -> int:
        """Bytes that a body may be longer than its file; a larger Content-Length can be refused without reading."""
        return self.max_text_bytes + self.max_fields * 512


DEFAULT_LIMITS = FormLimits()


@dataclass(frozen=True, slots=True)
class ReceivedForm:
    """A form that arrived whole. The file at `path` belongs to the caller, who removes it.

    Attributes:
        fields: name -> values in the order sent; values that are `UNKNOWN` are left out, NUL characters removed.
        file_name: as the part's header says; never used in `path`.
        path: the bytes, synced to disk, under a random name.
        length: bytes of the file.
        sha256: digest of the file.
        blake2b_256: BLAKE2b digest of 32 bytes, in lower-case hexadecimal.
        md5: MD5 digest, in lower-case hexadecimal; only to be compared with what the client sent.
    """

    fields: Mapping[str, list[str]]
    file_name: FileName
    path: Path
    length: Length
    sha256: Sha256
    blake2b_256: str
    md5: str


class ContentMissing(ServiceError):
    """A well-formed form without a file; `fields` tell which `:action` it meant."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self.fields = fields
        super().__init__(ErrorKind.INVALID, "content file field not found: send the file as the part content.")


async def receive_form(
    body: AsyncIterator[bytes],
    content_type: str | None,
    folder: Path,
    max_file_bytes: int,
    limits: FormLimits = DEFAULT_LIMITS,
) -> ReceivedForm:
    """Read a form from a request body, using memory for its text and two batches of its file only.

    Args:
        body: the request's chunks, of any size.
        content_type: the request's Content-Type header.
        folder: where the temporary file is made; it must exist.
        max_file_bytes: bytes of the file that are taken.
        limits: how much of the rest is taken.

    Returns:
        The form, its file durable. After any error, also of `body` or a cancellation, there is no file.

    Raises:
        ContentMissing: it has no file.
        ServiceError: INVALID for a malformed form or file name, TOO_LARGE as soon as a limit is passed, UNAVAILABLE
            when the file cannot be written.
    """
    boundary = _boundary(content_type)
    spool = Spool(folder)
    try:
        reader = _FormReader(spool, max_file_bytes, limits)
        parser = MultipartParser(
            boundary, reader.callbacks(), max_header_count=_MAX_HEADERS, max_header_size=_MAX_HEADER_BYTES
        )
        await _read_body(body, parser, spool, max_file_bytes + limits.max_overhead_bytes)
        file_name = reader.finished()
        spooled = await spool.finish()
    except FormParserError as error:
        await spool.discard()
        raise _invalid(f"The body is not valid multipart/form-data: {_ascii(str(error))}.") from error
    except BaseException:
        await spool.discard()
        raise
    return ReceivedForm(
        fields=reader.fields,
        file_name=file_name,
        path=spooled.path,
        length=spooled.length,
        sha256=spooled.sha256,
        blake2b_256=spooled.blake2b_256,
        md5=spooled.md5,
    )


async def _read_body(body: AsyncIterator[bytes], parser: MultipartParser, spool: Spool, max_bytes: int) -> None:
    received = 0
    async for chunk in body:
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(f"The request is longer than {max_bytes} bytes.")
        for step in _steps(chunk):
            parser.write(step)
            await spool.drain()
            if len(chunk) > _STEP_BYTES:
                await asyncio.sleep(0)


def _steps(chunk: bytes) -> Iterator[bytes]:
    if len(chunk) <= _STEP_BYTES:
        yield chunk
        return
    for start in range(0, len(chunk), _STEP_BYTES):
        yield chunk[start : start + _STEP_BYTES]


class _FormReader:
    """Turns the parser's events into fields and a file."""

    def __init__(self, spool: Spool, max_file_bytes: int, limits: FormLimits) -> None:
        self.fields: dict[str, list[str]] = {}
        self._spool = spool
        self._max_file_bytes = max_file_bytes
        self._limits = limits
        self._file_name: FileName | None = None
        self._ended = False
        self._parts = 0
        self._text_bytes = 0
        self._headers: dict[str, str] = {}
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._field = ""
        self._text = bytearray()
        self._take: Callable[[memoryview], None] = self._take_nothing
        self._close: Callable[[], None] = self._close_nothing

    def callbacks(self) -> MultipartCallbacks:
        """Return what the parser is to call."""
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def finished(self) -> FileName:
        """Return the file's name, now that the body has ended.

        Raises:
            ServiceError: the form is cut short, or has no file.
        """
        if not self._ended:
            raise _invalid("The upload ended before its last part was complete: send it again.")
        if self._file_name is None:
            raise ContentMissing(self.fields)
        if not self._spool.length:
            raise _invalid("The file is empty.")
        return self._file_name

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > self._limits.max_fields:
            raise _too_large(f"The form has more than {self._limits.max_fields} fields.")
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        name = self._header_name.decode("latin-1").lower()
        try:
            value = self._header_value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _invalid(f"The header {_ascii(name)} of a part is not UTF-8.") from error
        if name in self._headers or _CONTROL.search(value):
            raise _invalid(f"The header {_ascii(name)} of a part is there twice or holds a control character.")
        self._headers[name] = value
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        kind, parameters = _parse_header(self._headers.get("content-disposition", ""))
        name = parameters.get("name", "")
        if kind != "form-data" or not 1 <= len(name) <= _MAX_FIELD_NAME or "\\" in name:
            raise _invalid("A part of the form has no valid name in its Content-Disposition header.")
        if self._headers.get("content-transfer-encoding", "binary").strip().lower() not in _PLAIN_ENCODINGS:
            raise _invalid(f"The part {_shown(name)} has a Content-Transfer-Encoding: send it as it is.")
        self._field = name
        file_name = parameters.get("filename")
        if name == CONTENT:
            self._begin_file(file_name)
        elif file_name is None:
            self._take, self._close = self._take_text, self._close_text
        elif name in IGNORED_FILES:
            self._take, self._close = self._take_ignored, self._close_nothing
        else:
            raise _invalid(f"The field {_shown(name)} must be text, not a file.")

    def _begin_file(self, file_name: str | None) -> None:
        if file_name is None:
            raise _invalid("The field 'content' must be a file: its part needs a file name.")
        if self._file_name is not None:
            raise _invalid("The form has more than one file: send one form for each.")
        try:
            self._file_name = parse_file_name(file_name)
        except InvalidName as error:
            raise _invalid(f"The file name {_shown(file_name)} cannot be used: {error.reason}.") from error
        self._take, self._close = self._take_file, self._close_nothing

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._take(memoryview(data)[start:end])

    def _on_part_end(self) -> None:
        self._close()
        self._take, self._close = self._take_nothing, self._close_nothing

    def _on_end(self) -> None:
        self._ended = True

    def _take_file(self, data: memoryview) -> None:
        if self._spool.length + len(data) > self._max_file_bytes:
            raise _too_large(f"The file is longer than {self._max_file_bytes} bytes.")
        self._spool.feed(data)

    def _take_text(self, data: memoryview) -> None:
        self._count_text(data)
        if len(self._text) + len(data) > self._limits.max_field_bytes:
            raise _too_large(f"The field {_shown(self._field)} is longer than {self._limits.max_field_bytes} bytes.")
        self._text += data

    def _take_ignored(self, data: memoryview) -> None:
        self._count_text(data)

    def _take_nothing(self, data: memoryview) -> None:
        """Between parts there is nothing to take."""

    def _close_nothing(self) -> None:
        """Files need no more than their bytes."""

    def _count_text(self, data: memoryview) -> None:
        self._text_bytes += len(data)
        if self._text_bytes > self._limits.max_text_bytes:
            raise _too_large(f"The text of the form is longer than {self._limits.max_text_bytes} bytes.")

    def _close_text(self) -> None:
        try:
            text = self._text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _invalid(f"The field {_shown(self._field)} is not UTF-8.") from error
        self._text.clear()
        if text.strip() != _UNKNOWN:
            self.fields.setdefault(self._field, []).append(text.replace("\0", ""))


def _boundary(content_type: str | None) -> bytes:
    """Return the boundary that the request's Content-Type names."""
    kind, parameters = _parse_header(content_type or "")
    if kind != "multipart/form-data":
        raise _invalid("The upload must be a form: send it as multipart/form-data.")
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.match(boundary):
        raise _invalid("The Content-Type header names no valid boundary for multipart/form-data.")
    return boundary.encode("ascii")


def _parse_header(value: str) -> tuple[str, dict[str, str]]:
    """Split a header into its first word, in lower case, and its parameters.

    No backslash escapes, no `name*=` forms (RFC 7578 forbids them) and no parameter twice: so a path or a second file
    name cannot hide from us, or from a proxy before us.
    """
    kind = _KIND.match(value)
    if kind is None:
        return "", {}
    parameters: dict[str, str] = {}
    at = kind.end()
    while at < len(value):
        match = _PARAMETER.match(value, at)
        name = match[1].lower() if match is not None else ""
        if match is None or name in parameters or "*" in name:
            raise _invalid(f"The header value {_shown(value)} is malformed.")
        parameters[name] = match[2].strip('"')
        at = match.end()
    return kind[1].lower(), parameters


def _ascii(text: str) -> str:
    return ascii(text[:200])[1:-1]


def _shown(text: str) -> str:
    return ascii(text[:100])


def _invalid(detail: str) -> ServiceError:
    return ServiceError(ErrorKind.INVALID, detail)


def _too_large(detail: str) -> ServiceError:
    return ServiceError(ErrorKind.TOO_LARGE, detail)
