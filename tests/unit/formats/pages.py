"""Pages and files for the tests of rendering."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from countermark.core.digest import Length, sha256_of
from countermark.core.names import IndexName, TargetPath
from shared.formats.interface import PageFile, ProjectPage
from shared.formats.python.names import parse_name
from shared.formats.registry import FORMATS

UPLOADED = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)


def page_file(
    file_name: str,
    *,
    yanked: str | None = None,
    requires_python: str | None = None,
    core_metadata: bool = False,
    uploaded_at: datetime = UPLOADED,
) -> PageFile:
    """Return a file as the catalogue would tell of it; its digest is of its name."""
    coordinates = parse_name(file_name)
    return PageFile(
        file_name=coordinates.file_name,
        version=coordinates.version,
        package_type=coordinates.package_type,
        sha256=sha256_of(file_name.encode()),
        length=Length(len(file_name)),
        requires_python=requires_python,
        uploaded_at=uploaded_at,
        yanked=yanked,
        core_metadata_sha256=sha256_of(b"metadata") if core_metadata else None,
    )


def project_page(
    files: Sequence[PageFile], *, status: str = "active", status_reason: str | None = None, project: str = "widget"
) -> ProjectPage:
    """Return a page of `root/stable` at serial 7."""
    name = parse_name(f"{project}-1-py3-none-any.whl").project
    return ProjectPage(IndexName("root", "stable"), name, 7, status, status_reason, files)


def render_all(page: ProjectPage) -> dict[TargetPath, bytes]:
    """Render a page with the pointers of all its files."""
    return FORMATS["python"].render(page, {file.file_name for file in page.files})
