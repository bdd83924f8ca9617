"""Uploads: one file, one form, one answer.

The form is the one every Python index takes; an answer 200 means that the index holds the file durably, and its first
line says whether it is published already. Identical bytes again are answered 200 too, so a failed attempt may be
repeated.

Source: contract python-index sections 2.1 and 2.2; architecture section 11.7.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlunsplit

import httpx2
from packaging.metadata import RawMetadata

from countermark.core.errors import ClientError, UploadRefused, UsageFault
from countermark.credentials import Credentials
from countermark.location import parse_url
from countermark.metadatafile import distribution_of, read_metadata
from countermark.progress import Advance, Meter, Silent
from countermark.retrying import PASSING, may_pass, pause_before
from countermark.transport import CHUNK, user_agent
from countermark.watchdog import Watchdog

MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read."""

_KEPT = re.compile(r"kept=(\d{1,3}), new=(\d{1,3})")
"""How a registry of ours tells of attestations, in a header of its answer."""

_SINGULAR = {
    "platforms": "platform",
    "supported_platforms": "supported_platform",
    "license_files": "license_file",
}
"""Form fields whose name is not that of the metadata. Source: contract python-index section 2.1 (the form's table)."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Bounds of one upload.

    Attributes:
        connect: for the TCP and TLS handshake.
        answer: from the last byte sent to the answer; the index waits 10 s on publication and answers within 12.
        minimum_rate: bytes per second that the line is expected to carry at least; gives the deadline of the whole.
        attempts: tries while the index cannot be reached or says that it is busy.
    """

    connect: timedelta = timedelta(seconds=10)
    answer: timedelta = timedelta(seconds=60)
    minimum_rate: int = 16 * 1024
    attempts: int = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What the index said of one file: the HTTP status and its lines, the most telling first.

    `status_url` is where to look later, when publication is still pending. `attestations` went along; of these
    the index keeps `kept`, None where it does not say.
    """

    file: Path
    status: int
    lines: tuple[str, ...]
    status_url: str | None
    attestations: int = 0
    kept: Kept | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """Attestations that an index says it keeps of those that it was sent, `new` of which it did not have before."""

    count: int
    new: int

    def __add__(self, other: Kept) -> Kept:
        return Kept(self.count + other.count, self.new + other.new)


class Beside(Protocol):
    """What goes with a file; see `countermark.attesting.sending`."""

    def __len__(self) -> int:
        """How many attestations."""

    @property
    def fields(self) -> dict[str, str | list[str]]:
        """Fields of the form."""


Found = TypeVar("Found", bound=Beside)


class Attachments(Protocol[Found]):
    """Finds what goes with a file, and sends what the form cannot hold."""

    def read(self, path: Path) -> Found:
        """Find it."""

    def send(self, path: Path, beside: Found) -> Kept:
        """Send it, after the file; returns what the index keeps of it."""


def upload_url(text: str) -> str:
    """Return the URL that takes the form for an index URL; `+simple/` behind it is dropped, credentials too.

    Raises:
        UsageFault: it is not an http(s) URL.
    """
    parts = parse_url(text)
    if parts.scheme == "file":
        raise UsageFault("uploads go to a server, not to a folder", "Write an index URL: https://host/owner/index.")
    path = parts.path.rstrip("/").removesuffix("/+simple") + "/"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))


def form_fields(path: Path, metadata: RawMetadata) -> dict[str, str | list[str]]:
    """Return the form's text fields for a file: what it is, its digests and its own metadata.

    Raises:
        UsageFault: the file cannot be read.
    """
    distribution = distribution_of(path)
    pyversion = ".".join(sorted({tag.interpreter for tag in distribution.tags})) or "source"
    fields: dict[str, str | list[str]] = {
        ":action": "file_upload",
        "protocol_version": "1",
        "filetype": "bdist_wheel" if distribution.is_wheel else "sdist",
        "pyversion": pyversion,
        **_digests(path),
    }
    for key, value in metadata.items():
        name = _SINGULAR.get(key, key)
        if key == "keywords" and isinstance(value, list):
            fields[name] = ",".join(value)
        elif isinstance(value, str):
            fields[name] = value
        elif isinstance(value, list):
            fields[name] = [str(item) for item in value]
        elif isinstance(value, dict):
            fields[name] = [f"{label}, {link}" for label, link in value.items()]
    return fields


class Uploader:
    """Uploads files to one index; several threads may share it.

    Args:
        url: the index.
        credentials: a token that may upload there.
        patience: bounds in time.
        meter: follows the bytes that are sent.
        attachments: finds attestations; None: none are sent.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None,
        patience: Patience | None = None,
        meter: Meter | None = None,
        attachments: Attachments[Any] | None = None,
    ) -> None:
        self._url = upload_url(url)
        self._attachments = attachments
        self._credentials = credentials
        self._patience = patience or Patience()
        self._meter = meter or Silent()
        self._stopped = threading.Event()

    def upload(self, path: Path) -> Answer:
        """Upload one file, with its attestations.

        Raises:
            UsageFault: it is not a readable wheel or sdist, or an attestation is not one of it.
            UploadRefused: the index did not take it or one of them, or could not be reached in time.
        """
        fields = form_fields(path, read_metadata(path))
        if self._attachments is None:
            return self._send(path, fields)
        beside = self._attachments.read(path)
        answer = self._send(path, fields | beside.fields)
        in_form = answer.kept if beside.fields else Kept(0, 0)
        posted = self._attachments.send(path, beside)
        return replace(answer, attestations=len(beside), kept=None if in_form is None else in_form + posted)

    def _send(self, path: Path, fields: Mapping[str, str | list[str]]) -> Answer:
        for attempt in range(1, self._patience.attempts + 1):
            last = attempt == self._patience.attempts
            self._check_stopped()
            try:
                status, headers, text = self._post(path, fields)
            except httpx2.HTTPError as error:
                if last or not may_pass(error):
                    raise UploadRefused(
                        f"{path.name}: cannot reach {self._url}: {str(error) or type(error).__name__}",
                        "Run this again: a file that did arrive is taken once more without harm.",
                    ) from error
                time.sleep(pause_before(attempt))
            else:
                if last or status not in PASSING:
                    return self._judge(path, status, headers, text)
                time.sleep(pause_before(attempt, headers))
        raise AssertionError("the last attempt returns or raises")

    def stop(self) -> None:
        """End the uploads under way at their next piece; nothing of them stays at the index."""
        self._stopped.set()

    def _check_stopped(self) -> None:
        if self._stopped.is_set():
            raise UploadRefused("the upload was interrupted", "Run this again.")

    def _follow(self, advance: Advance, count: int) -> None:
        self._check_stopped()
        advance(count)

    def _post(self, path: Path, fields: Mapping[str, str | list[str]]) -> tuple[int, httpx2.Headers, str]:
        watchdog = Watchdog()
        patience = self._patience
        deadline = patience.connect + patience.answer
        seconds = deadline.total_seconds() + path.stat().st_size / patience.minimum_rate
        timeout = httpx2.Timeout(patience.answer.total_seconds(), connect=patience.connect.total_seconds())
        try:
            with (
                self._meter.task(path.name, path.stat().st_size) as advance,
                httpx2.Client(timeout=timeout) as client,
                _Counted(path, functools.partial(self._follow, advance)) as file,
                watchdog.armed(seconds),
            ):
                request = client.build_request(
                    "POST",
                    self._url,
                    data=fields,
                    files={"content": (path.name, file, "application/octet-stream")},
                    headers={
                        "User-Agent": user_agent(),
                        "Accept": "text/plain",
                        "Accept-Encoding": "identity",
                        **(self._credentials.header_for(self._url) if self._credentials else {}),
                    },
                    extensions={"trace": watchdog.trace},
                )
                response = client.send(request, stream=True, follow_redirects=False)
                return response.status_code, response.headers, _read_text(response)
        except OSError as error:
            raise UsageFault(f"cannot read {path}: {error.strerror or error}") from error
        finally:
            watchdog.close()

    def _judge(self, path: Path, status: int, headers: httpx2.Headers, text: str) -> Answer:
        lines = tuple(line for line in (printable(line) for line in text.splitlines()) if line)
        if status == 200:
            return Answer(path, status, lines, _status_url(headers.get("link", "")), kept=_kept(headers))
        said = lines[0] if lines else "no reason given"
        remedy = {
            401: "Set COUNTERMARK_TOKEN (or --token) to a token that may upload to this index.",
            403: "The token may not upload this project to this index, or its policy does not take the file so: "
            "`countermark attest` makes the attestations that a policy demands.",
            404: "Check the address of the index.",
            409: "A file's bytes never change: raise the version.",
            413: "The file is larger than the index allows.",
        }.get(status, "")
        if 300 <= status < 400:
            said, remedy = (
                f"redirected to {printable(headers.get('location', ''))}",
                "Upload to that address directly.",
            )
        raise UploadRefused(f"{path.name}: {self._url} answered {status}: {said}".rstrip("."), remedy)


def upload_all(uploader: Uploader, files: Sequence[Path], workers: int) -> list[Answer | ClientError]:
    """Upload files side by side; return the answer or the failure of each, in the order they were given.

    Args:
        uploader: sends them.
        files: wheels and sdists.
        workers: files that are sent at once.
    """
    pool = ThreadPoolExecutor(max(1, min(workers, len(files))))
    try:
        return list(pool.map(lambda file: _attempt(uploader, file), files))
    except BaseException:
        uploader.stop()
        raise
    finally:
        # After an interrupt the files that were not begun are left.
        pool.shutdown(wait=False, cancel_futures=True)


def _attempt(uploader: Uploader, file: Path) -> Answer | ClientError:
    try:
        return uploader.upload(file)
    except ClientError as error:
        return error


class _Counted(io.BufferedReader):
    """A file that tells how much of it was read."""

    def __init__(self, path: Path, advance: Advance) -> None:
        super().__init__(path.open("rb", buffering=0))
        self._advance = advance

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and tell."""
        data = super().read(size)
        self._advance(len(data))
        return data


def _digests(path: Path) -> dict[str, str]:
    sha256, blake2 = hashlib.sha256(), hashlib.blake2b(digest_size=32)
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                sha256.update(chunk)
                blake2.update(chunk)
    except OSError as error:
        raise UsageFault(f"cannot read {path}: {error.strerror or error}") from error
    return {"sha256_digest": sha256.hexdigest(), "blake2_256_digest": blake2.hexdigest()}


def _read_text(response: httpx2.Response) -> str:
    data = b""
    for chunk in response.iter_raw():
        data += chunk
        if len(data) > MAX_ANSWER:
            break
    return data[:MAX_ANSWER].decode("utf-8", "replace")


def printable(line: str) -> str:
    """Return a server's line without what could drive a terminal, at most 500 characters."""
    return "".join(character for character in line if character.isprintable())[:500].strip()


def _kept(headers: httpx2.Headers) -> Kept | None:
    found = _KEPT.fullmatch(headers.get("x-countermark-attestations", ""))
    return None if found is None else Kept(int(found[1]), int(found[2]))


def _status_url(link: str) -> str | None:
    for entry in link.split(","):
        target, _, parameters = entry.partition(";")
        if 'rel="status"' in parameters:
            return printable(target.strip().strip("<>"))
    return None
