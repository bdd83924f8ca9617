"""`countermark probe`: whether an index can be refreshed from here, and until when."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from countermark.cache import Cache
from countermark.cli.connecting import FirstUseOption, JsonOption, MirrorOption, RootOption, TokenOption, connect
from countermark.cli.screen import Screen
from countermark.core.errors import ClientError, Expired, UsageFault
from countermark.mirrors import Address
from countermark.probing import Life, Probe, Run, expired_by
from countermark.roots import PinStore, RootChoice, choose_root
from countermark.transport import Limits, Transport

_SPAN = re.compile(r"([0-9]{1,6})([smhd])\Z")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

_PATIENCE = timedelta(minutes=5)
"""How long all requests of one refresh may take: there may be thousands of bins."""

IndexArgument = Annotated[
    str | None,
    typer.Argument(metavar="[INDEX_URL]", help="As --repository elsewhere. Default: COUNTERMARK_REPOSITORY."),
]
AheadOption = Annotated[
    str, typer.Option("--ahead", metavar="SPAN", help="Say what will have expired by then: 90s, 30m, 12h or 3d.")
]


def probe(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    index: IndexArgument = None,
    ahead: AheadOption = "12h",
    mirrors: MirrorOption = None,
    root: RootOption = None,
    first_use: FirstUseOption = False,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refresh an index's metadata with an empty cache and with the kept one, read every role and bin, say how long all
    of it lasts. Mirrors are looked at too, each for itself, over the same kept cache.

    Exit codes: 0 all is well, 1 something fails or will have expired with the clock --ahead, 2 usage.
    """
    screen = Screen(as_json=as_json)
    with screen.guarded():
        span = parse_span(ahead)
        connection = connect(index, screen, token)
        settings, others = connection.settings, connection.mirrors(mirrors, screen)
        choice = RootChoice(root or settings.root, first_use)
        with Transport(credentials=connection.credentials) as source:
            trusted = choose_root(connection.location, choice, PinStore(settings.pins_folder), source, screen.notify)
        cache = Cache(settings.cache_folder)
        failures: list[ClientError] = []
        for address in (Address(connection.location, connection.credentials), *others):

            def look(run: Run, address: Address = address) -> list[Life]:
                with Transport(Limits(metadata_total=_PATIENCE), address.credentials) as source:
                    place = address.location
                    return Probe(connection.location, place, trusted, source, cache, screen.notify).run(run)

            try:
                _look_at(screen, look, ahead, span)
            except ClientError as error:
                failures.append(error)
                if others:
                    screen.notify(f"{address.location.url} failed: {error.link}: {error.problem}")
            else:
                screen.tell(f"{address.location.url} is well, and will be in {ahead}")
        if failures:
            raise failures[0]
        screen.object({"step": "done", "ok": True, "exit": 0})


def _look_at(screen: Screen, look: Callable[[Run], list[Life]], ahead: str, span: timedelta) -> None:
    """Show what both refreshes of one address find.

    Raises:
        Expired: something will have expired by then.
        ClientError: the first step that failed.
    """
    over: dict[str, Life] = {}
    for run in Run:
        over |= {life.role: life for life in _shown(screen, run, look(run), span)}
    if over:
        raise _will_have_expired(list(over.values()), ahead)


def parse_span(text: str) -> timedelta:
    """Read a span of time.

    Raises:
        UsageFault: it is none.
    """
    found = _SPAN.match(text)
    if found is None:
        raise UsageFault(f"{text[:20]!r} is no span of time", "Write a number and s, m, h or d: --ahead 12h.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _shown(screen: Screen, run: Run, lives: Sequence[Life], ahead: timedelta) -> list[Life]:
    """Print what a refresh found; returns what will have expired."""
    now = datetime.now(UTC)
    over = expired_by(lives, now + ahead)
    for life in lives:
        left, ends = life.left(now), life.expires.isoformat()
        fields = {"version": life.version, "expires": ends, "seconds_left": int(left.total_seconds())}
        bins = {} if life.first is None else {"bins": life.files, "first": life.first}
        screen.object({"step": run.value, "role": life.role, "ok": life not in over, **fields, **bins})
        what = life.role if life.first is None else f"{life.files} bins, {life.first} first"
        words = "will have expired" if life in over else f"{left.days} d {left.seconds // 3600} h left"
        screen.row(run.value, what, f"version {life.version}", ends, words)
    return over


def _will_have_expired(over: Sequence[Life], ahead: str) -> Expired:
    named = ", ".join(
        f"{life.first or life.role} version {life.version} on {life.expires.isoformat()}" for life in over
    )
    return Expired(
        f"{ahead} from now these will have expired: {named}",
        "The registry's signers are to renew them: tell the people who run it.",
    )
