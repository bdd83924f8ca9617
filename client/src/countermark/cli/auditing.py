"""`countermark audit`: prove an export of a registry's audit against the head that it signed.

Source: trust contract section 2.9.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated

import typer

from countermark.cli.connecting import Asked, FirstUseOption, JsonOption, RepositoryOption, RootOption, opened
from countermark.cli.screen import Screen
from countermark.core.audit import (
    HEAD_TARGET,
    MAX_HEAD_BYTES,
    MAX_LINE_BYTES,
    AuditHead,
    ChainBroken,
    MalformedAudit,
    parse_head,
    verify_export,
)
from countermark.core.errors import (
    AuditRefused,
    LocalState,
    NoSuchTarget,
    PointerMismatch,
    PointerUnreadable,
    UsageFault,
)
from countermark.trusted_view import TrustedView

app = typer.Typer(help="The registry's record of what changed trust and rights.", no_args_is_help=True)

FileArgument = Annotated[
    typer.FileBinaryRead, typer.Argument(help="What countermark-server audit export wrote; - for standard input.")
]
HeadOption = Annotated[
    list[Path] | None,
    typer.Option("--head", metavar="FILE", help="A head.json that was kept from before: it has to agree, too."),
]


@app.callback()
def group() -> None:
    """The registry's record of what changed trust and rights."""


@app.command()
def verify(
    file: FileArgument,
    repository: RepositoryOption = None,
    heads: HeadOption = None,
    root: RootOption = None,
    first_use: FirstUseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prove an export of the audit: one unbroken chain, and the one whose head the registry signed.

    The repository is the registry's default index, in which it publishes the head. Exit codes as of `download`; 1 when
    the export is not what was published.
    """
    screen = Screen(as_json=as_json, full_table=True)
    with screen.guarded():
        kept = [_read_head(path) for path in heads or []]
        asked = Asked(repository, root, first_use, bases=["none"])
        with opened(asked, screen) as here, here.verifier.metadata() as view:
            head = _published(view)
        screen.object({"step": "head", "ok": True, "position": head.position, "sha256": head.sha256})
        try:
            proven = verify_export(_lines(file), [head, *kept])
        except MalformedAudit as error:
            raise AuditRefused(f"{file.name}: {error}") from error
        except ChainBroken as error:
            raise AuditRefused(f"position {error.position}: {error.reason}") from error
    at = head.at.isoformat(timespec="seconds")
    screen.result(f"proven: positions {proven.first} to {head.position}, signed {at}")
    if proven.last > head.position:
        screen.tell(f"{proven.last - head.position} later rows are chained and wait for the next head")
    fields = {"first": proven.first, "proven": head.position, "last": proven.last, "head_at": at}
    screen.object({"step": "done", "ok": True, "exit": 0, **fields})


def _published(view: TrustedView) -> AuditHead:
    """Return the head that the index signed.

    Raises:
        NoSuchTarget: it signed none.
        PointerMismatch: it is another index's.
    """
    try:
        head = parse_head(view.index(view.asked).read_target(HEAD_TARGET, MAX_HEAD_BYTES))
    except NoSuchTarget as error:
        raise NoSuchTarget(
            f"{view.asked} publishes no head of the audit",
            "It is published in the registry's default index, at the latest an hour after its start: name that one.",
        ) from error
    except MalformedAudit as error:
        raise PointerUnreadable(f"{HEAD_TARGET}: {error}") from error
    if head.index != view.asked:
        raise PointerMismatch(f"{HEAD_TARGET} of {view.asked} is signed as that of {head.index}")
    return head


def _read_head(path: Path) -> AuditHead:
    try:
        with path.open("rb") as file:
            return parse_head(file.read(MAX_HEAD_BYTES + 1))
    except OSError as error:
        raise LocalState(f"{path} cannot be read: {error.strerror}") from error
    except MalformedAudit as error:
        raise UsageFault(f"{path} is no head of an audit: {error}") from error


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield lines, each no longer than one may be and a byte."""
    try:
        while line := file.readline(MAX_LINE_BYTES + 1):
            yield line
    except OSError as error:
        raise LocalState(f"{file.name} cannot be read: {error.strerror}") from error
