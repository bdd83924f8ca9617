"""What can be done to a project from its page: the words that ask, the request it becomes, the words after it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.auth.principal import Verb

STATUSES: Mapping[str, str] = {
    "active": "Everything works.",
    "archived": "Files stay; uploads are refused.",
    "deprecated": "Files stay and uploads go on; tools may warn.",
    "quarantined": "No file is offered or served, and uploads are refused, until this ends.",
}
"""Project status -> what it means to those who install. Source: contract python-index section 1.5."""

NOTICES: Mapping[str, str] = {
    "published": "Done. The change is signed and published.",
    "exempt": "Done. It is shown here from now on, unless another rule holds it back.",
    "pending": "Done. It is waiting to be signed and will show shortly.",
}
"""State of a change -> what the page says after it."""


@dataclass(frozen=True, slots=True)
class Action:
    """Something that can be done to a release or a file.

    Attributes:
        title: for the confirmation page; `button` for its button.
        effect: what it means to those who install.
        method: of the API request; `mark` whether it is made on the yank mark, not on the object itself.
        verb: the right it needs.
    """

    title: str
    button: str
    effect: str
    method: str
    mark: bool
    verb: Verb
    takes_reason: bool = False
    grave: bool = False


ACTIONS: Mapping[str, Action] = {
    "yank": Action(
        title="Yank",
        button="Yank",
        effect="Tools choose it no longer, unless exactly this version is asked for. It can be taken back.",
        method="POST",
        mark=True,
        verb=Verb.UPLOAD,
        takes_reason=True,
    ),
    "unyank": Action(
        title="Un-yank",
        button="Un-yank",
        effect="Tools can choose it again.",
        method="DELETE",
        mark=True,
        verb=Verb.UPLOAD,
    ),
    "remove": Action(
        title="Remove",
        button="Remove for good",
        effect="It is gone for everyone and cannot be brought back. Its file names can never be used again.",
        method="DELETE",
        mark=False,
        verb=Verb.REMOVE,
        grave=True,
    ),
}
"""What a form may ask for, by the name it uses."""
