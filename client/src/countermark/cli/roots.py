"""`countermark root fetch` and `countermark root pin`."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from countermark.cli.screen import Screen
from countermark.core.digest import InvalidDigest, parse_sha256
from countermark.core.errors import BelowThreshold, UsageFault
from countermark.credentials import find_credentials
from countermark.location import Location, parse_location
from countermark.placing import write_over
from countermark.roots import Pin, PinOrigin, PinStore, TrustedRoot, read_root_file, walk_roots
from countermark.settings import Settings, read_settings
from countermark.transport import Transport

app = typer.Typer(help="Fetch and pin the root of a registry: where trust starts.", no_args_is_help=True)

UrlArgument = Annotated[str, typer.Argument(metavar="URL", help="Index URL or static tree, as for --repository.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def fetch(
    url: UrlArgument,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the newest root to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the roots of a registry from the first to the newest, check the chain, and show the newest.

    Nothing is trusted by this: compare the sha256 with one from the people who run the registry, then pin it.
    """
    screen = Screen(as_json=as_json)
    with screen.guarded():
        location = parse_location(url)
        newest = _walk(url, location, read_settings(os.environ), screen)[-1]
        if out is not None:
            write_over(out, newest.data)
    _show(screen, newest, location)
    name = str(out) if out else newest.sha256
    screen.tell(f"To trust it for all of {location.deployment}: countermark root pin {location.url} {name}")
    if newest.expires < datetime.now(UTC):
        screen.notify("this root has expired: downloads will be refused until a newer one is published")


@app.command()
def pin(
    url: UrlArgument,
    root: Annotated[str, typer.Argument(metavar="FILE|SHA256", help="A root file, or the sha256 of a served root.")],
    as_json: JsonOption = False,
) -> None:
    """Trust a root for a registry: for all indexes below the same address, until another is pinned.

    With a file nothing is fetched. With a sha256 the root of that digest is fetched and its chain checked.
    """
    screen = Screen(as_json=as_json)
    with screen.guarded():
        settings = read_settings(os.environ)
        location = parse_location(url)
        pinned = _named_root(root, url, location, settings, screen)
        kept = PinStore(settings.pins_folder).keep(Pin(location.deployment, PinOrigin.PINNED, pinned))
    _show(screen, pinned, location)
    screen.tell(f"Pinned for {location.deployment} in {kept}")


def _named_root(text: str, url: str, location: Location, settings: Settings, screen: Screen) -> TrustedRoot:
    if Path(text).is_file():
        return read_root_file(Path(text))
    try:
        sha256 = parse_sha256(text)
    except InvalidDigest as error:
        raise UsageFault(f"{text} is neither a file nor a sha256") from error
    for served in _walk(url, location, settings, screen):
        if served.sha256 == sha256:
            return served
    raise BelowThreshold(
        f"{location.url} serves no root with sha256 {sha256}",
        f"See what it serves with `countermark root fetch {location.url}`, and ask the people who run it.",
    )


def _walk(url: str, location: Location, settings: Settings, screen: Screen) -> tuple[TrustedRoot, ...]:
    with Transport(credentials=find_credentials(url, settings.secrets_for(url), screen.notify)) as source:
        return walk_roots(location, source)


def _show(screen: Screen, root: TrustedRoot, location: Location) -> None:
    screen.object(
        {
            "deployment": location.deployment,
            "version": root.version,
            "sha256": root.sha256,
            "expires": root.expires.isoformat(),
            "roles": {role.role: {"threshold": role.threshold, "keyids": role.keyids} for role in root.roles},
        }
    )
    screen.result(f"root version {root.version} of {location.deployment}")
    screen.result(f"sha256  {root.sha256}")
    screen.result(f"expires {root.expires.isoformat()}")
    for role in root.roles:
        screen.result(f"{role.role}: {role.threshold} of {len(role.keyids)} keys")
        for keyid in role.keyids:
            screen.result(f"  {keyid}")
