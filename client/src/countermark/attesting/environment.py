"""What is installed in the environment that a project is built in."""

from __future__ import annotations

import sysconfig
from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_name

_MOST = 500
"""Distributions that are told of; build environments have a handful."""


def installed_in(folder: Path) -> dict[str, str]:
    """Return the distributions in a virtual environment: normalised name -> version."""
    base = {"base": str(folder), "platbase": str(folder)}
    places = {sysconfig.get_path(kind, scheme="venv", vars=base) for kind in ("purelib", "platlib")}
    found = ((one.metadata["Name"], one.version) for one in distributions(path=sorted(places)))
    return dict(sorted((str(canonicalize_name(name)), number) for name, number in found if name and number)[:_MOST])
