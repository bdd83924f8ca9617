"""What the file names of wheels and sdists say: project, version and tags. Pure.

Source: packaging.python.org binary and source distribution formats, through `packaging.utils`.
"""

from __future__ import annotations

from dataclasses import dataclass

from packaging.tags import Tag
from packaging.utils import (
    BuildTag,
    InvalidSdistFilename,
    InvalidWheelFilename,
    NormalizedName,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from countermark.core.names import FileName, InvalidName, parse_file_name


@dataclass(frozen=True, slots=True)
class Distribution:
    """A wheel or sdist by its name; `tags` are empty for an sdist."""

    file_name: FileName
    project: NormalizedName
    version: Version
    build: BuildTag = ()
    tags: frozenset[Tag] = frozenset()

    @property
    def is_wheel(self) -> bool:
        """Whether the file is a wheel; else it is an sdist."""
        return bool(self.tags)


def parse_distribution(text: str) -> Distribution:
    """Return what the name of a wheel or sdist says.

    Raises:
        InvalidName: it is not a safe file name, or not the name of a wheel or sdist.
    """
    file_name = parse_file_name(text)
    try:
        if text.endswith(".whl"):
            project, version, build, tags = parse_wheel_filename(file_name)
            return Distribution(file_name, project, version, build, tags)
        project, version = parse_sdist_filename(file_name)
        return Distribution(file_name, project, version)
    except (InvalidWheelFilename, InvalidSdistFilename) as error:
        raise InvalidName("file name", text, "it is not the name of a wheel or sdist") from error
