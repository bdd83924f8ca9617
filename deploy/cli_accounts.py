"""Commands for people, tokens and indexes; they work beside a running server, or on the database of the settings."""

from __future__ import annotations

import getpass
import sys
from dataclasses import asdict
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
from deploy.errors import UsageError

users = new_group("People and machines that own indexes and tokens.")
tokens = new_group("API tokens.")
indexes = new_group(
    "Make and list indexes, say who may use them; without a command, serve pages alone.", needs_command=False
)

_PASSWORD_LIMIT = 4096
"""Characters read from a password file or a pipe."""

_ASKED_MOST = 3
"""How often a new password is asked for that is typed twice."""

PasswordFileOption = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="FILE", help="Read the password from a file; - is standard input."),
]


@users.command("add")
def add_user(
    name: str,
    *,
    email: Annotated[str | None, typer.Option(help="Kept with the account.")] = None,
    password_file: PasswordFileOption = None,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Make an account. Without a password it can use tokens and owner links alone."""
    settings = load_settings(data, config, pairs).settings
    password = None if password_file is None else _password_from(password_file)
    run(function("deploy.administration.add_user")(settings, name, password, email))
    say(f"made the account {name}\n")


@users.command("passwd")
def set_password(
    name: str,
    *,
    password_file: PasswordFileOption = None,
    keep_tokens: Annotated[
        bool, typer.Option("--keep-tokens", help="Leave the account's API tokens as they are.")
    ] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Give an account a new password, asked for at the terminal or read from a file or a pipe; its tokens end."""
    settings = load_settings(data, config, pairs).settings
    if password_file is None and not sys.stdin.isatty():
        password_file = Path("-")
    password = _asked_password() if password_file is None else _password_from(password_file)
    revoked = run(function("deploy.administration.set_password")(settings, name, password, keep_tokens=keep_tokens))
    say(f"changed the password of {name}; tokens revoked: {revoked}\n")


@users.command("list")
def list_users(
    *, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None
) -> None:
    """List accounts."""
    rows = run(function("deploy.administration.list_users")(load_settings(data, config, pairs).settings))
    say_table(rows, ("name", "email", "password", "created_at", "disabled_at"), as_json=as_json)


@users.command("disable")
def disable_user(name: str, *, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None) -> None:
    """End an account and its tokens; its name stays taken and its indexes stay."""
    run(function("deploy.administration.disable_user")(load_settings(data, config, pairs).settings, name))
    say(f"disabled the account {name}\n")


@users.command("link")
def make_link(
    name: Annotated[str, typer.Argument(help="Whom it signs in.")] = "root",
    *,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Print a link that signs an account in once, within a day."""
    say(run(function("deploy.administration.make_link")(load_settings(data, config, pairs).settings, name)) + "\n")


@tokens.command("create")
def create_token(  # noqa: PLR0913 - each is an option of the command line
    *,
    user: Annotated[str, typer.Option(help="Whose token it is.")] = "root",
    index: Annotated[str, typer.Option(help="The index it is for, owner/name; '*' for every index.")] = "root/stable",
    project: Annotated[str | None, typer.Option(help="The one project it is for.", show_default="all")] = None,
    verbs: Annotated[str, typer.Option(help="What it may do, by commas: read, upload, remove, ...")] = "upload,read",
    days: Annotated[int, typer.Option(min=1, max=366, help="Days until it expires.")] = 90,
    label: Annotated[str, typer.Option(help="By what name its owner recognises it.")] = "made on the command line",
    publisher: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON of the CI run it is for; attestations must be of that run.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Make a token and print it: this once, it is kept nowhere."""
    settings = load_settings(data, config, pairs).settings
    wanted: dict[str, object] = {
        "user": user,
        "index": index,
        "project": project,
        "verbs": verbs,
        "days": days,
        "label": label,
    }
    wanted["publisher"] = publisher
    token = run(function("deploy.administration.create_token")(settings, wanted))
    if as_json:
        say_json(token)
    else:
        say(token["token"] + "\n")


@tokens.command("list")
def list_tokens(
    *,
    user: Annotated[str | None, typer.Option(help="Whose tokens.", show_default="everybody's")] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """List tokens, without their secrets."""
    rows = run(function("deploy.administration.list_tokens")(load_settings(data, config, pairs).settings, user))
    say_table(rows, ("id", "user", "label", "scopes", "expires_at", "last_used_at", "revoked_at"), as_json=as_json)


@tokens.command("revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As token list prints it.")],
    *,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Make a token useless."""
    run(function("deploy.administration.revoke_token")(load_settings(data, config, pairs).settings, token_id))
    say(f"revoked {token_id}\n")


@indexes.command("create")
def create_index(
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME")],
    *,
    private: Annotated[bool, typer.Option("--private", help="Only who has a right may read it.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Make a stage index; it is published, empty, at once."""
    settings = load_settings(data, config, pairs).settings
    made = run(function("deploy.administration.create_index")(settings, name, private=private))
    if as_json:
        say_json(made)
    else:
        say(f"made the {made['visibility']} index {name}\n")


@indexes.command("list")
def list_indexes(
    *, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None, pairs: SetOption = None
) -> None:
    """List indexes."""
    rows = run(function("deploy.administration.list_indexes")(load_settings(data, config, pairs).settings))
    say_table(rows, ("index", "type", "visibility", "volatile", "serial", "created_at"), as_json=as_json)


@indexes.command("check")
def check_index(
    name: Annotated[str | None, typer.Argument(metavar="[OWNER/NAME]", help="Only this index.")] = None,
    *,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Compare every signed target, and what is laid about attestations, with the catalogue: 0 when they agree, else 1.

    Works beside a running server, and changes nothing.
    """
    checked = run(function("deploy.rebuilding.check")(load_settings(data, config, pairs).settings, name))
    if as_json:
        say_json([asdict(one) for one in checked])
    for one in () if as_json else checked:
        counted = f"{one.targets} targets, {one.documents} documents about attestations"
        say(f"{one.index}: {counted}, {len(one.faults) or 'no'} faults\n")
        for line in [*one.faults, *([] if one.remedy is None else [one.remedy])]:
            say(f"  {line}\n")
    if any(one.faults for one in checked):
        raise typer.Exit(1)


SubjectArgument = Annotated[str, typer.Argument(help="An account, :group, :AUTHENTICATED: or :ANONYMOUS:.")]


@indexes.command("grants")
def list_grants(
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME")],
    *,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """List who may do what on an index."""
    rows = run(function("deploy.administration.list_grants")(load_settings(data, config, pairs).settings, name))
    say_table(rows, ("subject", "verbs"), as_json=as_json)


@indexes.command("grant")
def grant(
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME")],
    subject: SubjectArgument,
    verbs: Annotated[str, typer.Argument(help="What it may do, by commas: read, upload, remove, ...")],
    *,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Let somebody do exactly these verbs on an index, in place of what they could do before."""
    settings = load_settings(data, config, pairs).settings
    if not verbs.strip(" ,"):
        raise UsageError("name at least one verb, or take all away with countermark-server index revoke")
    run(function("deploy.administration.set_grants")(settings, name, subject, verbs))
    say(f"{subject} may {verbs} on {name}\n")


@indexes.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME")],
    subject: SubjectArgument,
    *,
    data: DataOption = None,
    config: ConfigOption = None,
    pairs: SetOption = None,
) -> None:
    """Take all rights on an index from somebody."""
    settings = load_settings(data, config, pairs).settings
    run(function("deploy.administration.set_grants")(settings, name, subject, ""))
    say(f"{subject} has no right of its own on {name}\n")


def _password_from(path: Path) -> str:
    try:
        if str(path) == "-":
            text = sys.stdin.read(_PASSWORD_LIMIT)
        else:
            with path.open(encoding="utf-8") as file:
                text = file.read(_PASSWORD_LIMIT)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the password cannot be read from {path}: {error}") from error
    return text.rstrip("\r\n")


def _asked_password() -> str:
    for _ in range(_ASKED_MOST):
        password = getpass.getpass("New password: ")
        if password == getpass.getpass("Once more: "):
            return password
        say("the two passwords differ\n")
    raise UsageError(f"the two passwords differed {_ASKED_MOST} times: nothing was changed")
