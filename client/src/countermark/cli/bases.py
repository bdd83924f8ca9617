"""`countermark bases show` and `countermark bases pin`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from countermark.cli.connecting import JsonOption, parse_bases
from countermark.cli.screen import Screen
from countermark.core.errors import BasesUnknown
from countermark.credentials import find_credentials
from countermark.location import Location, parse_location
from countermark.settings import Settings, read_settings
from countermark.transport import Transport
from countermark.views import View, ViewStore, ask_view, named_view

app = typer.Typer(help="See and record which indexes an index is based on.", no_args_is_help=True)

UrlArgument = Annotated[str, typer.Argument(metavar="URL", help="Index URL or static tree, as for --repository.")]


@app.command()
def show(url: UrlArgument, as_json: JsonOption = False) -> None:
    """Show what is recorded of an index's bases, and what the registry says of them now, which nobody signs."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        settings, location = read_settings(os.environ), parse_location(url)
        recorded = ViewStore(settings.views_folder).find(location)
        served = None
        try:
            served = None if location.is_tree else _ask(url, location, settings, screen)
        except BasesUnknown as error:
            screen.notify(error.problem)
    facts = {"recorded": recorded and recorded.facts(), "served": served and served.facts()}
    screen.object({"index": location.url, **facts})
    screen.result(f"recorded  {recorded or 'nothing'}" + (f" ({recorded.origin.value})" if recorded else ""))
    screen.result(f"served    {served or 'nothing'}")


@app.command()
def pin(
    url: UrlArgument,
    bases: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OWNER/INDEX...]", help="The bases in order, with theirs; 'none' for none."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Record the bases of an index, in place of what was recorded.

    With names the registry is not asked any more. Without, what it says now is recorded: compare it with what the
    people who run the index say.
    """
    screen = Screen(as_json=as_json)
    with screen.guarded():
        settings, location = read_settings(os.environ), parse_location(url)
        named = named_view(location.index, parse_bases(bases)) if bases else _ask(url, location, settings, screen)
        kept = ViewStore(settings.views_folder).keep(location, named)
    screen.object({"index": location.url, "recorded": named.facts()})
    screen.result(f"{location.index} is based on: {named}")
    screen.tell(f"Recorded in {kept}")


def _ask(url: str, location: Location, settings: Settings, screen: Screen) -> View:
    """Return what the registry says now.

    Raises:
        BasesUnknown: it does not, or it is a static tree.
    """
    if location.is_tree:
        raise BasesUnknown(f"{location.url} is a static tree, which says nothing of bases", "Name them.")
    with Transport(credentials=find_credentials(url, settings.secrets_for(url), screen.notify)) as source:
        return ask_view(location, source)
