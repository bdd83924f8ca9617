"""`countermark status`: how far a file has come, or where this machine stands with a registry."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import urlunsplit

import typer

from countermark.cli.connecting import Connection, IndexOption, JsonOption, TokenOption, WaitOption, connect
from countermark.cli.screen import Screen
from countermark.core.errors import RegistryRefused, UsageFault
from countermark.credentials import find_credentials
from countermark.location import parse_url
from countermark.registry import PENDING, Registry, index_path
from countermark.roots import Pin, PinStore
from countermark.settings import read_settings
from countermark.views import ViewStore

_FILE_ID = re.compile(r"[0-9A-Fa-f-]{8,64}\Z")


def status(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE-ID|URL]", help="A file, as an upload's status link names it.")
    ] = None,
    repository: IndexOption = None,
    token: TokenOption = None,
    wait: WaitOption = 60,
    as_json: JsonOption = False,
) -> None:
    """Follow an uploaded file until it is published; without one, show who you are, the pinned root, and the index.

    Ends with 1 when the file failed, was removed, or is not published in time.
    """
    screen = Screen(as_json=as_json)
    with screen.guarded():
        if file is None:
            _show_standing(screen, connect(repository, screen, token))
        else:
            registry = _registry_of(file, repository, token, screen)
            seen = registry.follow(_path_of(file), timedelta(seconds=wait))
            screen.object(seen)
            _judge(screen, seen, wait)


def _registry_of(file: str, repository: str | None, token: str | None, screen: Screen) -> Registry:
    if "://" not in file:
        return connect(repository, screen, token).registry()
    base, found, _ = file.partition("/api/v1/")
    if not found:
        raise UsageFault("this is no status link", "It looks like https://host/api/v1/files/ID.")
    parts, settings = parse_url(base), read_settings(os.environ)
    if parts.scheme == "file":
        raise UsageFault("a status link is an http address")
    # Credentials in the address are used, and never shown with it.
    plain = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    return Registry(plain, find_credentials(base, settings.secrets_for(base, token), screen.notify))


def _path_of(file: str) -> str:
    if "://" in file:
        return "/api/v1/" + file.partition("/api/v1/")[2]
    if file.startswith("/api/v1/"):
        return file
    if not _FILE_ID.match(file):
        raise UsageFault(f"{file!r} is no file's id", "Give the id or the status link that the upload printed.")
    return f"/files/{file}"


def _judge(screen: Screen, seen: Mapping[str, object], wait: int) -> None:
    state = seen.get("state")
    if not isinstance(state, str):
        raise RegistryRefused("what is there is no file's state", "Give the status link that the upload printed.")
    name = f"{seen.get('filename')} in {seen.get('index')}"
    if state == "published":
        screen.result(f"published {name}, serial {seen.get('serial')}")
    elif state in PENDING:
        raise RegistryRefused(f"{name} is not published after {wait} s", "It is stored: look again later.")
    elif isinstance(approval := seen.get("approval"), dict):
        raise RegistryRefused(f"{name} is not published: {approval.get('words')}", "See `countermark approvals list`.")
    else:
        raise RegistryRefused(f"{name} is {state}" + (f": {seen['error']}" if seen.get("error") else ""))


def _show_standing(screen: Screen, connection: Connection) -> None:
    location = connection.location
    pin = PinStore(connection.settings.pins_folder).find(location.deployment)
    bases = ViewStore(connection.settings.views_folder).find(location)
    registry = connection.registry()
    account = _account(screen, connection, registry)
    head = registry.get(index_path(location.index, "head"))
    screen.object(
        {
            "repository": location.url,
            "account": account,
            "root": _root(pin),
            "bases": bases and bases.facts(),
            "head": head,
        }
    )
    screen.result(f"repository {location.url}")
    who = "nobody" if account is None else str(account.get("name"))
    screen.result(f"account    {who}" + (", administrator" if account and account.get("administrator") else ""))
    if pin is None:
        screen.result("root       none is pinned")
    else:
        how = f"{pin.origin.value}, expires {pin.root.expires.isoformat()}"
        screen.result(f"root       version {pin.root.version}, sha256 {pin.root.sha256}, {how}")
    screen.result(f"bases      {bases or 'nothing is recorded'}")
    screen.result(f"index      serial {head.get('serial')}, committed {head.get('committed_at')}")
    roles = ("root", "snapshot", "timestamp")
    screen.result("metadata   " + ", ".join(f"{role} {head.get(f'{role}_version')}" for role in roles))
    screen.result(f"timestamp  expires {head.get('timestamp_expires_at')}")
    _warn(screen, head)


def _account(screen: Screen, connection: Connection, registry: Registry) -> Mapping[str, object] | None:
    if connection.credentials is None:
        return None
    try:
        return registry.get("/account")
    except RegistryRefused as error:
        screen.notify(f"who you are: {error.problem}")
        return None


def _root(pin: Pin | None) -> Mapping[str, object] | None:
    if pin is None:
        return None
    root = pin.root
    return {
        "deployment": pin.deployment,
        "origin": pin.origin.value,
        "version": root.version,
        "sha256": root.sha256,
        "expires": root.expires.isoformat(),
    }


def _warn(screen: Screen, head: Mapping[str, object]) -> None:
    """Say that downloads will fail, before they do."""
    try:
        expires = datetime.fromisoformat(str(head.get("timestamp_expires_at")))
    except ValueError:
        return
    if expires.tzinfo is not None and expires < datetime.now(UTC):
        screen.notify("the timestamp has expired: downloads are refused until the registry signs a new one")
