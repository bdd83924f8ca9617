"""Commands about the deployment's trust root: its first ceremony, where it stands, and its targets."""

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
    say_json,
    say_table,
)

trust = new_group("The trust root: its first ceremony, and where it stands.")

HolderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--holder", metavar="ROLE=FILE", help="A public key file of somebody who holds a key of a role; repeated."
    ),
]
OnlineOption = Annotated[
    list[str] | None,
    typer.Option(
        "--online",
        metavar="ROLE=FILE=URI",
        help="A public key file of timestamp, snapshot or bins, and the URI by which the server signs with it; "
        "keys that are not given are generated as files.",
    ),
]


@trust.command("bootstrap")
def bootstrap(
    *,
    holder: HolderOption = None,
    online: OnlineOption = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Begin the first ceremony of the profiles small and production: make the online keys, propose the first files."""
    settings = load_settings(data, config, pairs).settings
    rows = run(function("deploy.bootstrapping.bootstrap")(settings, holder or [], online or []))
    say_table(rows, ("role", "event", "payload_sha256", "expires_at"), as_json=as_json)
    if not as_json:
        say(
            "next: start the server; holders check and sign the events of their roles (countermark ceremony sign);\n"
            "then finalise root, targets and the others (countermark ceremony finalise); nothing is published before.\n"
        )


@trust.command("status")
def status(
    *, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None
) -> None:
    """Say which shared files are published, when they expire, and what is missing of the first ceremony."""
    found = run(function("deploy.bootstrapping.status")(load_settings(data, config, pairs).settings))
    if as_json:
        say_json(found)
        return
    say_table(found["roles"], ("role", "version", "expires_at", "threshold", "keys"), as_json=False)
    for line in found["missing"]:
        say(f"missing: {line}\n")


targets = new_group("What the trust role signs for attestations: the policy and the Sigstore roots.")
trust.add_typer(targets, name="targets")

ReasonOption = Annotated[str, typer.Option("--reason", help="Words for the audit.")]


@targets.command("list")
def list_targets(
    *, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None
) -> None:
    """Say what trust signs now."""
    rows = run(function("deploy.trust_targets.listed")(load_settings(data, config, pairs).settings))
    say_table(rows, ("path", "length", "sha256"), as_json=as_json)


@targets.command("set")
def set_target(
    path: Annotated[str, typer.Argument(help="trust/policy.yaml, trusted_root.json or trust/NAME.trusted_root.json.")],
    file: Annotated[Path, typer.Argument(help="The file with its content.")],
    *,
    reason: ReasonOption = "set by the operator",
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Sign a target in place of what was there, where this server has the keys of trust (profile development)."""
    settings = load_settings(data, config, pairs).settings
    say(f"{run(function('deploy.trust_targets.set_one')(settings, path, file, reason))}\n")


@targets.command("unset")
def unset_target(
    path: Annotated[str, typer.Argument(help="What is no target any more.")],
    *,
    reason: ReasonOption = "unset by the operator",
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Sign a target no more, where this server has the keys of trust (profile development)."""
    settings = load_settings(data, config, pairs).settings
    say(f"{run(function('deploy.trust_targets.unset_one')(settings, path, reason))}\n")
