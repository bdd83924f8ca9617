"""`countermark ls`: the projects of an index, the releases of a project, the files of a release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import typer
from packaging.version import Version

from countermark.choosing import Wanted
from countermark.cli.connecting import (
    Asked,
    BaseOption,
    FirstUseOption,
    JsonOption,
    RepositoryOption,
    RootOption,
    TokenOption,
    connect,
    opened,
)
from countermark.cli.screen import Screen
from countermark.core.errors import UsageFault
from countermark.core.merging import Listed
from countermark.registry import index_path
from countermark.requirements import parse_requirement
from countermark.trusted_view import TrustedView


def ls(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    what: Annotated[str | None, typer.Argument(metavar="[PROJECT[==V]]", help="A project, or a release.")] = None,
    repository: RepositoryOption = None,
    match: Annotated[str | None, typer.Option("--match", metavar="TEXT", help="Projects with TEXT in their name.")] = (
        None
    ),
    root: RootOption = None,
    first_use: FirstUseOption = False,
    bases: BaseOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List projects; of a project its releases; of a release its files.

    Releases and files come from the pages that the index and its bases signed, so a root is needed, as for `download`.
    The list of projects comes from the registry's API and is not signed.
    """
    screen = Screen(as_json=as_json)
    with screen.guarded():
        if what is None:
            _list_projects(screen, repository, token, match)
            return
        wanted = parse_requirement(what, screen.notify)
        if wanted is None or match is not None:
            raise UsageFault("a project or release goes without marker and without --match")
        asked = Asked(repository, root, first_use, token=token, bases=bases)
        # The steps are not the result here, so they are not shown.
        with opened(asked, Screen()) as here, here.verifier.metadata() as view:
            _list_files(screen, view, list(view.listed(wanted.project)), wanted)


def _list_projects(screen: Screen, repository: str | None, token: str | None, match: str | None) -> None:
    connection = connect(repository, screen, token)
    path = index_path(connection.location.index, "projects")
    for item in connection.registry().items(path, {"q": match} if match else None):
        screen.object(item)
        latest, summary = item.get("latest_version"), item.get("summary")
        screen.row(str(item.get("name")), str(latest or "-"), str(summary or ""))


def _list_files(screen: Screen, view: TrustedView, listed: list[Listed], wanted: Wanted) -> None:
    releases = _releases(listed)
    if wanted.version is not None:
        releases = {version: files for version, files in releases.items() if version == wanted.version}
    elif wanted.versions:
        allowed = frozenset(wanted.versions.filter(releases, prereleases=True))
        releases = {version: files for version, files in releases.items() if version in allowed}
    if not releases:
        raise view.missing(f"no {wanted}")
    for version in sorted(releases, reverse=True):
        for fields in _described(wanted, version, releases[version], files=wanted.version is not None):
            screen.object(fields)
            screen.row(*_cells(fields))


def _releases(listed: list[Listed]) -> dict[Version, list[Listed]]:
    releases: dict[Version, list[Listed]] = {}
    for each in listed:
        releases.setdefault(each.file.distribution.version, []).append(each)
    return releases


def _described(
    wanted: Wanted, version: Version, listed: list[Listed], *, files: bool
) -> Iterator[Mapping[str, object]]:
    """Yield one object for the release, or one for each of its files."""
    release: dict[str, object] = {"project": wanted.project, "version": str(version)}
    if not files:
        dates = [each.file.uploaded for each in listed if each.file.uploaded]
        yield {
            **release,
            "files": len(listed),
            "yanked": all(each.file.yanked for each in listed),
            "uploaded": min(dates, default=None),
            "indexes": sorted({str(each.owner) for each in listed}),
        }
        return
    for each in listed:
        file = each.file
        yield {
            **release,
            "file": file.distribution.file_name,
            "sha256": file.sha256,
            "length": file.length,
            "requires_python": file.requires_python,
            "yanked": file.yanked,
            "yanked_reason": file.yanked_reason,
            "uploaded": file.uploaded,
            "index": str(each.owner),
        }


def _cells(fields: Mapping[str, object]) -> Iterator[str]:
    if "file" in fields:
        yield str(fields["file"])
        yield f"{fields['length'] if fields['length'] is not None else '-'} bytes"
        yield f"sha256:{fields['sha256']}"
    else:
        yield str(fields["version"])
        yield f"{fields['files']} file(s)"
        yield str(fields["uploaded"] or "-")
    if fields["yanked"]:
        yield "yanked" + (f": {fields['yanked_reason']}" if fields.get("yanked_reason") else "")
