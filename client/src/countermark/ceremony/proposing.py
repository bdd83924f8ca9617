"""What a person proposes, from options; and whether the server's payload says that and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from securesystemslib.signer import Key

from countermark.ceremony.files import read_document, read_file
from countermark.core.ceremony.changes import MAX_TARGET_BYTES, Change, build
from countermark.core.ceremony.documents import SigningEvent, parse_public_key_file
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.payload import canonical_payload, parse_payload, read_published
from countermark.core.errors import CeremonyRefused, UsageFault


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `countermark ceremony propose`, as they were written."""

    add: Sequence[str] = ()
    remove: Sequence[str] = ()
    threshold: Sequence[str] = ()
    target: Sequence[str] = ()
    untarget: Sequence[str] = ()
    bins: int | None = None
    renew: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change, and who is said to hold the keys that it adds."""

    change: Change
    holders: Mapping[str, str] = field(default_factory=dict)


def parse_options(options: Options) -> Proposal:
    """Return what is proposed; public keys and targets are read from their files.

    Raises:
        UsageFault: an option has another form, a file cannot be read, or nothing is proposed.
    """
    added: list[tuple[str, Key]] = []
    holders: dict[str, str] = {}
    for role, path in parse_pairs("--add", options.add, "ROLE=FILE"):
        file = read_document(Path(path), parse_public_key_file)
        added.append((role, file.key))
        if file.holder:
            holders[file.key.keyid] = file.holder
    change = Change(
        add=tuple(added),
        remove=tuple(parse_pairs("--remove", options.remove, "ROLE=KEYID")),
        thresholds={role: _count(text) for role, text in parse_pairs("--threshold", options.threshold, "ROLE=COUNT")},
        bins=options.bins,
        targets={
            path: read_file(Path(file), MAX_TARGET_BYTES)
            for path, file in parse_pairs("--target", options.target, "PATH=FILE")
        },
        untargets=tuple(options.untarget),
    )
    if (change == Change()) != options.renew:
        raise UsageFault(
            "nothing is proposed" if change == Change() else "--renew stands alone: every change renews as well",
            "Give --add, --remove, --threshold, --target, --untarget or --bins; or --renew alone.",
        )
    return Proposal(change, holders)


def parse_pairs(option: str, values: Sequence[str], form: str) -> list[tuple[str, str]]:
    """Return the two sides of each value of an option.

    Raises:
        UsageFault: one has another form, or names twice what is said once.
    """
    pairs = []
    for value in values:
        name, equals, rest = value.partition("=")
        if not (name and equals and rest):
            raise UsageFault(f"{value[:100]!r} is no value of {option}", f"Write {option} {form}.")
        pairs.append((name, rest))
    names = [name for name, _ in pairs]
    if option in {"--threshold", "--target"} and len(set(names)) < len(names):
        raise UsageFault(f"{option} names {max(names, key=names.count)!r} twice")
    return pairs


def check_proposed(role: str, change: Change, event: SigningEvent) -> None:
    """Refuse an event whose payload is not what was proposed, built here from the version before.

    Raises:
        CeremonyRefused: it says something else.
    """
    try:
        payload = parse_payload(role, event.payload)
        current = None if event.previous is None else read_published(role, event.previous)
        expected = build(role, current, change, event.proposed_at, payload.expires - event.proposed_at)
        said = canonical_payload(expected)
    except CeremonyFault as error:
        raise CeremonyRefused(f"what was proposed cannot be built here: {error}") from error
    if event.role != role or said != event.payload:
        raise CeremonyRefused(
            f"the server made something else of what was proposed: event {event.id} has the sha256 "
            f"{event.payload_sha256}",
            "Look at it with `countermark ceremony show`, and withdraw it.",
        )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 4):
        raise UsageFault(f"{text[:40]!r} is no count of signatures", "Write --threshold ROLE=COUNT.")
    return int(text)
