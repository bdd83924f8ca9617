"""`countermark ls`: the projects of an index, the releases of a project, the files of a release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import typer
from packaging.version import Version

from countermark.choosing import Wanted, read_page
from countermark.cli.connecting import (
    Asked,
    FirstUseOption,
    JsonOption,
    RepositoryOption,
    RootOption,
    TokenOption,
    connect,
    opened,
)
from countermark.cli.screen import Screen
from countermark.core.errors import NoSuchTarget, UsageFault
from countermark.core.page import Page, PageFile
from countermark.registry import index_path
from countermark.requirements import parse_requirement


def ls(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    what: Annotated[str | None, typer.Argument(metavar="[PROJECT[==V]]", help="A project, or a release.")] = None,
    repository: RepositoryOption = None,
    match: Annotated[str | None, typer.Option("--match", metavar="TEXT", help="Projects with TEXT in their name.")] = (
        None
    ),
    root: RootOption = None,
    first_use: FirstUseOption = False,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """List projects; of a project its releases; of a release its files.

    Releases and files come from the page that the index signed, so a root is needed, as for `download`. The list of
    projects comes from the registry's API and is not signed.
    """
    screen = Screen(as_json=as_json)
    with screen.guarded():
        if what is None:
            _list_projects(screen, repository, token, match)
            return
        wanted = parse_requirement(what, screen.notify)
        if wanted is None or match is not None:
            raise UsageFault("a project or release goes without marker and without --match")
        asked = Asked(repository, root, first_use, token=token)
        # The steps are not the result here, so they are not shown.
        with opened(asked, Screen()) as here, here.verifier.metadata() as index:
            page = read_page(index, here.verifier.repository.location.index, wanted.project)
        _list_page(screen, page, wanted)


def _list_projects(screen: Screen, repository: str | None, token: str | None, match: str | None) -> None:
    connection = connect(repository, screen, token)
    path = index_path(connection.location.index, "projects")
    for item in connection.registry().items(path, {"q": match} if match else None):
        screen.object(item)
        latest, summary = item.get("latest_version"), item.get("summary")
        screen.row(str(item.get("name")), str(latest or "-"), str(summary or ""))


def _list_page(screen: Screen, page: Page, wanted: Wanted) -> None:
    releases = _releases(page)
    if wanted.version is not None:
        releases = {version: files for version, files in releases.items() if version == wanted.version}
    elif wanted.versions:
        allowed = frozenset(wanted.versions.filter(releases, prereleases=True))
        releases = {version: files for version, files in releases.items() if version in allowed}
    if not releases:
        raise NoSuchTarget(f"{page.index} has no {wanted}")
    for version in sorted(releases, reverse=True):
        for fields in _described(page, version, releases[version], files=wanted.version is not None):
            screen.object(fields)
            screen.row(*_cells(fields))


def _releases(page: Page) -> dict[Version, list[PageFile]]:
    releases: dict[Version, list[PageFile]] = {}
    for file in page.files:
        releases.setdefault(file.distribution.version, []).append(file)
    return releases


def _described(page: Page, version: Version, listed: list[PageFile], *, files: bool) -> Iterator[Mapping[str, object]]:
    """Yield one object for the release, or one for each of its files."""
    release: dict[str, object] = {"project": page.name, "version": str(version)}
    if not files:
        dates = [file.uploaded for file in listed if file.uploaded]
        yield {
            **release,
            "files": len(listed),
            "yanked": all(file.yanked for file in listed),
            "uploaded": min(dates, default=None),
        }
        return
    for file in listed:
        yield {
            **release,
            "file": file.distribution.file_name,
            "sha256": file.sha256,
            "length": file.length,
            "requires_python": file.requires_python,
            "yanked": file.yanked,
            "yanked_reason": file.yanked_reason,
            "uploaded": file.uploaded,
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
