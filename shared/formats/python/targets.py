"""Which files of a release machines would install: by their tags, for Pythons and platforms that are named. Pure.

Source: the platform compatibility tags of packaging.python.org, as `packaging.tags` has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

from countermark.core.names import FileName

_PLATFORM = re.compile(r"[a-z0-9_]{1,64}\Z")
_PYTHON = re.compile(r"3\.(\d{1,2})\Z")
_GLIBC = re.compile(r"manylinux_2_(\d{1,2})_(\w+)\Z")
_MUSL = re.compile(r"musllinux_1_(\d{1,2})_(\w+)\Z")
_MACOS = re.compile(r"macosx_(\d{1,2})_(\d{1,2})_(\w+)\Z")
_OLD_GLIBC = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


class InvalidTarget(ValueError):
    """A Python or a platform is none; the message says which and how it is written."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Machines that files are wanted for; none at all stands for every machine."""

    pythons: tuple[tuple[int, int], ...] = ()
    platforms: tuple[str, ...] = ()
    tags: frozenset[Tag] = field(init=False)

    def __post_init__(self) -> None:
        """Collect the tags that any of the machines takes."""
        object.__setattr__(self, "tags", frozenset(self._tags()))

    def take(self, file_name: FileName) -> bool:
        """Whether one of the machines would install a file; source archives are for all."""
        if not file_name.endswith(".whl") or not (self.pythons or self.platforms):
            return True
        try:
            return not self.tags.isdisjoint(parse_wheel_filename(file_name)[3])
        except ValueError:
            return False

    def _tags(self) -> Iterator[Tag]:
        for python in self.pythons:
            for platform in self.platforms or ("any",):
                platforms = list(_older(platform)) if platform != "any" else []
                yield from cpython_tags(python, platforms=platforms or ["any"])
                yield from compatible_tags(python, f"cp{python[0]}{python[1]}", platforms or ["any"])


def parse_targets(pythons: Iterable[str], platforms: Sequence[str]) -> Targets:
    """Return the machines that are meant.

    Args:
        pythons: as `3.12`; platforms need at least one.
        platforms: as in wheel names: `manylinux_2_28_x86_64`, `macosx_14_0_arm64`, `win_amd64`; older ones of the same
            kind are taken as well, as installers do.

    Raises:
        InvalidTarget: one is none, or platforms are named without a Python.
    """
    found = []
    for text in pythons:
        match = _PYTHON.match(text)
        if match is None:
            raise InvalidTarget(f"{text[:50]!r} is no Python version: write it as 3.12")
        found.append((3, int(match[1])))
    for platform in platforms:
        if not _PLATFORM.match(platform):
            raise InvalidTarget(f"{platform[:100]!r} is no platform: write it as in wheel names, manylinux_2_28_x86_64")
    if platforms and not found:
        raise InvalidTarget("platforms need the Pythons they are for: add --python 3.12")
    return Targets(tuple(found), tuple(platforms))


def _older(platform: str) -> Iterator[str]:
    """Yield a platform and those whose files run on it."""
    if (match := _GLIBC.match(platform)) is not None:
        for minor in range(int(match[1]), 4, -1):
            yield f"manylinux_2_{minor}_{match[2]}"
            if minor in _OLD_GLIBC:
                yield f"{_OLD_GLIBC[minor]}_{match[2]}"
        yield f"linux_{match[2]}"
    elif (match := _MUSL.match(platform)) is not None:
        for minor in range(int(match[1]), -1, -1):
            yield f"musllinux_1_{minor}_{match[2]}"
        yield f"linux_{match[2]}"
    elif (match := _MACOS.match(platform)) is not None:
        yield from mac_platforms((int(match[1]), int(match[2])), match[3])
    else:
        yield platform
