"""Python's wheels and source archives as a format."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from countermark.core.names import FileName, TargetPath
from shared.formats.interface import Coordinates, Inspected, PageFile, ProjectPage
from shared.formats.python.inspect import inspect
from shared.formats.python.listing import Listing
from shared.formats.python.names import parse_name
from shared.formats.python.scan import scan


class PythonFormat:
    """The `Format` of Python packages; without state."""

    def parse_name(self, file_name: str) -> Coordinates:
        """Read project, version and kind from a file name; see `names.parse_name`."""
        return parse_name(file_name)

    def inspect(self, path: Path, coordinates: Coordinates) -> Inspected:
        """Read a file's own metadata and check its structure; see `inspect.inspect`. Blocking."""
        return inspect(path, coordinates)

    def scan(self, path: Path, coordinates: Coordinates) -> tuple[str, ...]:
        """Return what looks like hidden code; see `scan.scan`. Blocking."""
        return scan(path, coordinates.package_type)

    def listing(self, files: Iterable[PageFile] = ()) -> Listing:
        """Return the listing of a project that has these files; see `listing.Listing`."""
        return Listing(files)

    def render(self, page: ProjectPage, new: Collection[FileName]) -> dict[TargetPath, bytes]:
        """Return what a publication signs for a project with all its files; see `listing.Listing.render`."""
        return Listing(page.files).render(page, new)
