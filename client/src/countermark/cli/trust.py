"""`countermark trust show` and `countermark trust check`: what is trusted, from when to when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from countermark.attesting.faults import TrustFaulty
from countermark.attesting.lasting import Part, RoleLife, SigstoreRoot, Trusted, faults
from countermark.cache import Cache
from countermark.cli.connecting import FirstUseOption, JsonOption, RootOption, TokenOption, connect
from countermark.cli.probing import IndexArgument, parse_span
from countermark.cli.screen import Screen
from countermark.roots import PinStore, RootChoice, choose_root
from countermark.transport import Transport
from countermark.updater import POLICY_TARGET, Starting, TrustedIndex

app = typer.Typer(help="See what is trusted, from when to when, and what is about to end.", no_args_is_help=True)

_MOST_TOLD = 5
"""Faults that are told in the closing error; all are told before it."""

WithinOption = Annotated[
    str, typer.Option("--within", metavar="SPAN", help="Also tell what will have ended by then: 12h or 30d.")
]


@app.command()
def show(
    index: IndexArgument = None,
    root: RootOption = None,
    first_use: FirstUseOption = False,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the roles of an index, its policy, and the Sigstore roots that its key holders sign: authorities, logs, CT
    logs and time stamp authorities, each with its ids and its time.

    All of it was verified from the root that this machine trusts.
    """
    screen = Screen(as_json=as_json)
    with screen.guarded():
        _shown(screen, _read(screen, index, RootChoice(root, first_use), token))


@app.command()
def check(
    index: IndexArgument = None,
    within: WithinOption = "30d",
    root: RootOption = None,
    first_use: FirstUseOption = False,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that all that is needed to verify new files lasts, and that policy and roots can be read.

    What has ended while another of its kind goes on is no fault: what was signed before is still verified by it.
    Exit codes: 0 all is well, 1 something has ended, ends within the time, or cannot be used, 2 usage.
    """
    screen = Screen(as_json=as_json)
    with screen.guarded():
        span = parse_span(within)
        trusted = _read(screen, index, RootChoice(root, first_use), token)
        found = faults(trusted, datetime.now(UTC), span)
        for fault in found:
            screen.object({"step": "fault", "ok": False, "message": fault})
            screen.result(fault)
        if found:
            raise _faulty(found)
        if trusted.policy is None and not trusted.roots:
            screen.notify("no policy and no Sigstore root is signed: no attestation can be verified here")
        screen.tell(f"What is trusted lasts for more than {within}.")
        screen.object({"step": "done", "ok": True, "exit": 0})


def _read(screen: Screen, index: str | None, choice: RootChoice, token: str | None) -> Trusted:
    # It takes most of a second to load, which no other command is to wait for.
    from countermark.attesting.trusted import read_trusted  # noqa: PLC0415

    connection = connect(index, screen, token)
    settings, location = connection.settings, connection.location
    with Transport(credentials=connection.credentials) as source:
        chosen = RootChoice(choice.file or settings.root, choice.trust_on_first_use)
        root = choose_root(location, chosen, PinStore(settings.pins_folder), source, screen.notify)
        with Cache(settings.cache_folder).opened(location, root.sha256, screen.notify) as folder:
            trusted = TrustedIndex(Starting(location, root, folder), source)
            trusted.refresh()
            return read_trusted(trusted, folder)


def _shown(screen: Screen, trusted: Trusted) -> None:
    now = datetime.now(UTC)
    for role in trusted.roles:
        screen.object({"role": role.role} | _role_facts(role))
        keys = f"{role.threshold} of {len(role.keyids)} keys" if role.threshold else ""
        screen.row(role.role, f"version {role.version}", keys, _until(role.expires, now))
    policy = trusted.policy
    if policy is None:
        screen.result("no policy is signed")
    else:
        facts = {"sha256": policy.sha256, "rules": policy.rules, "roots": dict(policy.roots), "fault": policy.fault}
        screen.object({"policy": POLICY_TARGET, **facts})
        screen.row(POLICY_TARGET, f"sha256 {policy.sha256}", policy.fault or f"{policy.rules} rules")
    if not trusted.roots:
        screen.result("no Sigstore root is signed")
    for root in trusted.roots:
        screen.object(_root_facts(root))
        for line in _root_lines(root, now):
            screen.row(*line)
    for path, sha256 in trusted.others.items():
        screen.object({"target": path, "sha256": sha256})
        screen.row(path, f"sha256 {sha256}")


def _role_facts(role: RoleLife) -> dict[str, object]:
    return {
        "version": role.version,
        "expires": role.expires.isoformat(),
        "threshold": role.threshold,
        "keyids": list(role.keyids),
    }


def _root_facts(root: SigstoreRoot) -> dict[str, object]:
    return {
        "root": root.path,
        "sha256": root.sha256,
        "names": list(root.names),
        "test": root.is_test,
        "fault": root.fault,
        "parts": [
            {
                "kind": part.kind,
                "name": part.name,
                "ids": list(part.ids),
                "start": part.start and part.start.isoformat(),
                "end": part.end and part.end.isoformat(),
            }
            for part in root.parts
        ],
    }


def _root_lines(root: SigstoreRoot, now: datetime) -> Iterator[tuple[str, ...]]:
    called = f"the policy calls it {', '.join(root.names)}" if root.names else ""
    test = "a test instance's" if root.is_test else ""
    yield root.path, f"sha256 {root.sha256}", root.fault or called, test
    for part in root.parts:
        yield f"  {part.kind}", part.name, part.ids[0] if part.ids else "", _period(part, now)


def _period(part: Part, now: datetime) -> str:
    start = f"from {part.start:%Y-%m-%d}" if part.start else "always"
    return start if part.end is None else f"{start} {_until(part.end, now)}"


def _until(end: datetime, now: datetime) -> str:
    left = end - now
    words = "ended" if left <= timedelta(0) else f"{left.days} d left"
    return f"to {end:%Y-%m-%d %H:%M} UTC ({words})"


def _faulty(found: list[str]) -> TrustFaulty:
    more = f"; and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
    return TrustFaulty(
        f"{'; '.join(found[:_MOST_TOLD])}{more}",
        "Tell the people who hold the keys: `countermark ceremony propose` signs a role anew, or another root.",
    )
