"""Commands about the keys that the deployment signs with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli_common import (
    ConfigOption,
    DataOption,
    JsonOption,
    SetOption,
    function,
    load_settings,
    new_group,
    run,
    say,
    say_table,
)
from deploy.errors import UsageError

keys = new_group("Keys that sign: which there are, and new ones in the place of old ones.")


@keys.command("list")
def list_keys(
    *, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None
) -> None:
    """List the keys of every role. Their URIs are private: they say where the secret halves are."""
    rows = run(function("deploy.rotating.list_keys")(load_settings(data, config, pairs).settings))
    say_table(rows, ("role", "keyid", "since", "uri"), as_json=as_json)


@keys.command("rotate")
def rotate(  # noqa: PLR0913 - each is an option of the command line
    role: Annotated[str, typer.Argument(metavar="ROLE", help="timestamp, snapshot, bins or registry.")],
    *,
    public_key: Annotated[
        Path | None, typer.Option("--public-key", metavar="FILE", help="The new key's public half; unset: make a key.")
    ] = None,
    uri: Annotated[str | None, typer.Option(metavar="URI", help="Where the new key's private half is.")] = None,
    grace: Annotated[
        int, typer.Option(min=0, max=86_400, help="Seconds before the old key ends, for clients and caches.")
    ] = 300,
    wait: Annotated[int, typer.Option(min=1, max=86_400, help="Seconds for all indexes to be signed anew.")] = 900,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Give up a new key that cannot be used, before clients are told of it.")
    ] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Replace a key that the server has beside the running deployment; no client notices.

    Stopped or failed, it goes on where it was when it is run again. Where people hold the keys of the file that
    names it, it stops for their ceremony and says which.
    """
    settings = load_settings(data, config, pairs).settings
    wanted = function("deploy.rotating.rotated_role")(role)
    if abandon:
        if public_key is not None or uri is not None:
            raise UsageError("--abandon gives up the key that was brought into use: it takes no other")
        run(function("deploy.rotating.abandon")(settings, wanted, say))
        return
    if (public_key is None) is not (uri is None):
        raise UsageError("--public-key and --uri go together: the two halves of one key")
    given = None if public_key is None or uri is None else (public_key, uri)
    patience = function("deploy.rotating.Patience")(publications=wait, grace=grace)
    run(function("deploy.rotating.rotate")(settings, wanted, given, patience, say))
