"""The audit chain: how rows of the audit are hashed one onto the other, and how that is proven again. Pure.

Each row's hash is over the hash before it, so whoever holds one hash (the published head) notices any row that was
altered, dropped, added or moved before it. The server chains with `hash_of`; the server's and the client's `audit
verify` both go through `ChainReader`.

The encoding, version `countermark-audit/v1`, is the name, a line feed, and a JSON array in UTF-8 without spaces, its
object keys sorted by code point and only what JSON demands escaped::

    [previous hash, position, id, at, source, actor, action, subject, detail]

`at` is UTC with six digits of a second. A change of it is a new name: old rows keep the hash they have.

Source: trust contract section 2.9 and 1.4 (the head's target).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from countermark.core.digest import InvalidDigest, Sha256, parse_sha256
from countermark.core.names import IndexName, InvalidName, TargetPath, parse_index_name

ENCODING = "countermark-audit/v1"
"""The name of the encoding that hashes are over."""

HEAD_SCHEMA = "countermark-audit-head/v1"
"""The name of the published head's form."""

HEAD_TARGET = TargetPath("pointers/countermark--audit/head.json")
"""Where the head is published, in the default index. Source: trust contract section 1.4."""

MAX_HEAD_BYTES = 2048
"""The most bytes a published head may have."""

MAX_LINE_BYTES = 4 << 20
"""The most bytes one line of an export may have."""

GENESIS = Sha256("0" * 64)
"""What stands for the hash before the first row."""

_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")
_LINE_FIELDS = frozenset(
    ["encoding", "position", "previous", "id", "at", "source", "actor", "action", "subject", "detail", "hash"]
)
_HEAD_FIELDS = frozenset(["schema", "index", "position", "rows", "hash", "at"])


class MalformedAudit(ValueError):
    """A line of an export, or a head, that is not what the server writes."""


class ChainBroken(ValueError):
    """The chain does not hold: from `position` on nothing is proven; `reason` says what differs."""

    def __init__(self, position: int, reason: str) -> None:
        self.position = position
        self.reason = reason
        super().__init__(f"position {position}: {reason}")


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A row of the audit, with all that is hashed of it; `source` is the address a person asked from, if known."""

    id: int
    at: datetime
    source: str | None
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]

    def __str__(self) -> str:
        return f"audit row {self.id} ({self.action} of {self.subject[:100]!r} by {self.actor[:100]!r})"


@dataclass(frozen=True, slots=True)
class Link:
    """A row in its place in the chain, with the hashes that are said of it."""

    position: int
    previous: Sha256
    row: AuditRow
    sha256: Sha256

    def to_line(self) -> bytes:
        """Return the line of an export that says this."""
        document = {
            "encoding": ENCODING,
            "position": self.position,
            "previous": self.previous,
            "id": self.row.id,
            "at": _moment(self.row.at),
            "source": self.row.source,
            "actor": self.row.actor,
            "action": self.row.action,
            "subject": self.row.subject,
            "detail": self.row.detail,
            "hash": self.sha256,
        }
        return _compact(document) + b"\n"


@dataclass(frozen=True, slots=True)
class AuditHead:
    """Where the chain ended when it was published: position and hash of its last row; positions have no gaps, so the
    position is the number of rows.

    Attributes:
        index: whose target this is: indexes share their keys (trust contract section 2.3).
        at: when.
    """

    index: IndexName
    position: int
    sha256: Sha256
    at: datetime

    def to_bytes(self) -> bytes:
        """Return the target's bytes."""
        document = {
            "schema": HEAD_SCHEMA,
            "index": str(self.index),
            "position": self.position,
            "rows": self.position,
            "hash": self.sha256,
            "at": _moment(self.at),
        }
        return _compact(document) + b"\n"


def hash_of(previous: Sha256, position: int, row: AuditRow) -> Sha256:
    """Return the hash of a row in its place.

    Args:
        previous: the hash of the row before, `GENESIS` for the first.
        position: counts from 1.
    """
    fields = [previous, position, row.id, _moment(row.at), row.source, row.actor, row.action, row.subject, row.detail]
    return Sha256(hashlib.sha256(ENCODING.encode() + b"\n" + _compact(fields)).hexdigest())


class ChainReader:
    """Goes along a chain, link by link, and says where it breaks.

    Args:
        position: of the link before the first that is taken; 0 begins at the beginning.
        sha256: its hash.
    """

    def __init__(self, position: int = 0, sha256: Sha256 = GENESIS) -> None:
        self.position = position
        self.sha256 = sha256

    def take(self, link: Link) -> None:
        """Go to the next link.

        Raises:
            ChainBroken: it is not the next one, or says another hash than its row has after the one before.
        """
        expected = self.position + 1
        if link.position != expected:
            raise ChainBroken(expected, f"it is missing: the next one is {link.position}")
        if link.previous != self.sha256:
            raise ChainBroken(
                expected, f"{link.row} follows on hash {link.previous}, but the row before it has {self.sha256}"
            )
        found = hash_of(self.sha256, expected, link.row)
        if found != link.sha256:
            raise ChainBroken(expected, f"{link.row} has the hash {found}, but {link.sha256} was chained")
        self.position, self.sha256 = expected, found

    def compare(self, head: AuditHead) -> None:
        """Compare a head with the link that was taken last.

        Raises:
            ChainBroken: the head is of another position, or says another hash.
        """
        if head.position != self.position:
            raise ChainBroken(head.position, f"the head of {_moment(head.at)} is not at position {self.position}")
        if head.sha256 != self.sha256:
            raise ChainBroken(
                head.position,
                f"the head of {_moment(head.at)} was published with hash {head.sha256}, the chain has {self.sha256}",
            )


@dataclass(frozen=True, slots=True)
class Proven:
    """What a head proves of an export: rows from `first` to `last` are one unbroken chain; those up to `proven` are
    what was signed, later ones wait for the next head."""

    first: int
    last: int
    proven: int


def verify_export(lines: Iterable[bytes], heads: Sequence[AuditHead]) -> Proven:
    """Check an export, which may begin anywhere, against published heads; memory does not grow with its length.

    Args:
        lines: of the export.
        heads: the one that is published now, and any that somebody kept; all have to agree.

    Raises:
        MalformedAudit: a line cannot be read, or there is none.
        ChainBroken: the chain breaks, differs from a head, or does not hold a head's position.
    """
    reader: ChainReader | None = None
    first = 0
    wanted: dict[int, list[AuditHead]] = {}
    for head in heads:
        wanted.setdefault(head.position, []).append(head)
    proven = max(wanted)
    for number, line in enumerate(lines, 1):
        try:
            link = parse_line(line)
        except MalformedAudit as error:
            raise MalformedAudit(f"line {number}: {error}") from error
        if reader is None:
            reader, first = _beginning(link), link.position
        try:
            reader.take(link)
        except (UnicodeEncodeError, RecursionError) as error:
            raise MalformedAudit(f"line {number}: its row has no form that could be hashed") from error
        for head in wanted.pop(reader.position, ()):
            reader.compare(head)
    if reader is None:
        raise MalformedAudit("it holds no row")
    for position, missing in sorted(wanted.items()):
        raise ChainBroken(
            position,
            f"it is not in the export, which holds {first} to {reader.position}, and the head published at "
            f"{_moment(missing[0].at)} is of it",
        )
    return Proven(first, reader.position, proven)


def _beginning(link: Link) -> ChainReader:
    """Return a reader that stands before the first link of an export."""
    if link.position == 1 and link.previous != GENESIS:
        raise ChainBroken(1, "the first row follows on something")
    return ChainReader(link.position - 1, link.previous)


def parse_line(line: bytes) -> Link:
    """Return the link that a line of an export says.

    Raises:
        MalformedAudit: it is none.
    """
    if len(line) > MAX_LINE_BYTES:
        raise MalformedAudit(f"it is longer than {MAX_LINE_BYTES} bytes")
    fields = _fields(line, _LINE_FIELDS)
    if fields["encoding"] != ENCODING:
        raise MalformedAudit(f"its encoding is {fields['encoding']!r:.50}; this version reads {ENCODING}")
    source, detail = fields["source"], fields["detail"]
    if not isinstance(detail, dict):
        raise MalformedAudit("detail is no object")
    row = AuditRow(
        id=_number(fields, "id"),
        at=_parse_moment(_text(fields, "at")),
        source=None if source is None else _text(fields, "source"),
        actor=_text(fields, "actor"),
        action=_text(fields, "action"),
        subject=_text(fields, "subject"),
        detail=detail,
    )
    return Link(_number(fields, "position"), _digest(fields, "previous"), row, _digest(fields, "hash"))


def parse_head(content: bytes) -> AuditHead:
    """Return the head that a target's bytes say.

    Raises:
        MalformedAudit: they say none.
    """
    if len(content) > MAX_HEAD_BYTES:
        raise MalformedAudit(f"it is longer than {MAX_HEAD_BYTES} bytes")
    fields = _fields(content, _HEAD_FIELDS)
    if fields["schema"] != HEAD_SCHEMA:
        raise MalformedAudit(f"its schema is {fields['schema']!r:.50}; this version reads {HEAD_SCHEMA}")
    position = _number(fields, "position")
    if _number(fields, "rows") != position:
        raise MalformedAudit("rows is not position")
    try:
        index = parse_index_name(_text(fields, "index"))
    except InvalidName as error:
        raise MalformedAudit(str(error)) from error
    return AuditHead(index, position, _digest(fields, "hash"), _parse_moment(_text(fields, "at")))


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _parse_moment(text: str) -> datetime:
    if not _AT.match(text):
        raise MalformedAudit("at is no time in UTC with six digits of a second")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise MalformedAudit(f"at is no time: {error}") from error


def _compact(document: Mapping[str, Any] | Sequence[Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def _fields(content: bytes, wanted: frozenset[str]) -> dict[str, Any]:
    try:
        document = json.loads(content, object_pairs_hook=_unique, parse_constant=_refuse)
    except MalformedAudit:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedAudit(f"it is no JSON: {str(error)[:100]}") from error
    if not isinstance(document, dict) or document.keys() != wanted:
        raise MalformedAudit(f"it is no object of {', '.join(sorted(wanted))}")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise MalformedAudit("a key occurs twice in an object")
    return document


def _refuse(constant: str) -> None:
    raise MalformedAudit(f"{constant} is no JSON")


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        raise MalformedAudit(f"{name} is no text")
    return value


def _number(fields: Mapping[str, Any], name: str) -> int:
    value = fields[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise MalformedAudit(f"{name} is no number from 1")
    return value


def _digest(fields: Mapping[str, Any], name: str) -> Sha256:
    value = _text(fields, name)
    try:
        digest = parse_sha256(value)
    except InvalidDigest as error:
        raise MalformedAudit(f"{name} is no sha256 digest") from error
    if digest != value:
        raise MalformedAudit(f"{name} is no bare sha256 digest")
    return digest
