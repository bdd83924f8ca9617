"""What a push asks for, and what it comes to in the index it goes to. Pure.

Source: contract devpi sections 11 and 4.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.catalogue.promotion_rows import Carried, CarriedAttachment, History
from shared.reading.devpi_rows import FROM_MIRROR
from shared.strict_json import BadJson, read_json

MAX_BODY = 64 << 10
"""Bytes of the JSON document."""

MAX_TEXT = 500
"""Characters of a name, a version, an index or a credential."""

ActionLine = Sequence[int | str]
"""A step of a push as the client prints it, beginning with its status."""


class InvalidPush(ValueError):
    """The document asks for nothing that can be done; the message is for the client."""


@dataclass(frozen=True, slots=True)
class Push:
    """A release that is to go somewhere; `name` and `version` are as the client writes them.

    Attributes:
        files: whether files, and what was tested of them, go along.
        docs: whether documentation does.
        options: all other keys of the document.
    """

    name: str
    version: str
    files: bool
    docs: bool
    options: Mapping[str, Any]

    @property
    def is_internal(self) -> bool:
        """Whether it goes to an index of this deployment."""
        return "targetindex" in self.options


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Where a push to another server goes, and with what credentials."""

    posturl: str
    username: str
    password: str
    register: bool

    def __repr__(self) -> str:
        return f"Forwarding({self.posturl!r})"


def parse_push(body: bytes) -> Push:
    """Read the document of a push.

    Raises:
        InvalidPush: it is no object, or name, version or flags are missing or of another type.
    """
    try:
        document = read_json(body)
    except BadJson as error:
        raise InvalidPush(str(error)) from error
    if not isinstance(document, dict):
        raise InvalidPush("A push is a JSON object with name, version and targetindex or posturl.")
    name, version = _text(document, "name"), _text(document, "version")
    no_docs, only_docs = _flag(document, "no_docs"), _flag(document, "only_docs")
    options = {key: value for key, value in document.items() if key not in _READ}
    return Push(name, version, not only_docs, not no_docs, options)


_READ = frozenset({"name", "version", "no_docs", "only_docs"})


def check_flags(push: Push) -> None:
    """Return when a push says no two things that exclude each other.

    Raises:
        InvalidPush: it does.
    """
    if not push.files and not push.docs:
        raise InvalidPush("can't use 'no_docs' and 'only_docs' together")


def target_of(push: Push) -> str:
    """Return the name of the index that a push goes to, as the client writes it: two parts.

    Raises:
        InvalidPush: there is no such name, or the document says more than is understood.
    """
    unknown = ", ".join(sorted(push.options.keys() - {"targetindex"}))
    if unknown:
        raise InvalidPush(f"unknown additional options: {unknown[:MAX_TEXT]}")
    text = _text(push.options, "targetindex")
    if text.count("/") != 1:
        raise InvalidPush("targetindex not in format user/index")
    return text


def forwarding_of(push: Push) -> Forwarding:
    """Return where a push to another server goes; keys that mean nothing here are ignored.

    Raises:
        InvalidPush: something is missing or of another type.
    """
    told = push.options
    if "posturl" not in told:
        raise InvalidPush("A push needs targetindex, an index here, or posturl, the upload URL of another server.")
    if ":" in _text(told, "username", empty=True):
        raise InvalidPush("The key username must hold no colon.")
    return Forwarding(
        _text(told, "posturl"),
        _text(told, "username", empty=True),
        _text(told, "password", empty=True),
        _flag(told, "register_project"),
    )


def _text(document: Mapping[str, Any], key: str, *, empty: bool = False) -> str:
    value = document.get(key)
    if value is None:
        raise InvalidPush(f"The key {key} is missing.")
    if not isinstance(value, str) or len(value) > MAX_TEXT or not (value or empty) or not value.isprintable():
        raise InvalidPush(f"The key {key} must be a text of 1 to {MAX_TEXT} printable characters.")
    return value


def _flag(document: Mapping[str, Any], key: str) -> bool:
    value = document.get(key, False)
    if not isinstance(value, bool):
        raise InvalidPush(f"The key {key} must be true or false.")
    return value


def history_after(history: History, step: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the history of something that was pushed: its own without what it overwrote elsewhere, and this step.

    Args:
        step: the `push` entry.

    Source: contract devpi sections 4.5 and 11.
    """
    return [*(dict(entry) for entry in history if entry.get("what") != "overwrite"), dict(step)]


def overwrite_step(before: int | None, at: datetime) -> list[dict[str, Any]]:
    """Return the entry that counts replacements, which comes first in a history; none when nothing was replaced.

    Args:
        before: how often the name was replaced before; None when nothing is replaced now.
    """
    return [] if before is None else [{"what": "overwrite", "who": None, "when": when(at), "count": before + 1}]


def push_step(who: str | None, source: str, target: str, at: datetime, *, from_mirror: bool = False) -> dict[str, Any]:
    """Return the entry of a history that says that a file was pushed. Source: contract devpi section 4.5."""
    step = {"what": "push", "who": who, "when": when(at), "src": source, "dst": target}
    return step | {FROM_MIRROR: True} if from_mirror else step


def when(at: datetime) -> list[int]:
    """Return a time as histories have it: year to second, in UTC."""
    return [at.year, at.month, at.day, at.hour, at.minute, at.second]


def action_log(
    push: Push, target: str, files: Iterable[Carried], attachments: Sequence[CarriedAttachment]
) -> list[ActionLine]:
    """Return what was done, as the client prints it: register, each file and what was tested of it, documentation.

    Source: contract devpi section 11.
    """
    lines: list[ActionLine] = [(200, "register", push.name, push.version, "->", target)]
    tested: dict[object, list[CarriedAttachment]] = {}
    for attachment in attachments:
        tested.setdefault(attachment.file_id, []).append(attachment)
    for file in files:
        lines.append((200, "store_releasefile", file_path(target, file.path_key, file.file_name)))
        results = tested.get(file.id, ())
        lines += [(200, "store_toxresult", file_path(target, one.path_key, one.file_name)) for one in results]
    if None in tested:
        lines.append((200, "store_doczip", push.name, push.version, "->", target))
    return lines


def file_path(index: str, path_key: str, file_name: str) -> str:
    """Return the path of a file in an index, without a slash in front."""
    return f"{index}/+f/{path_key[:3]}/{path_key[3:]}/{file_name}"
