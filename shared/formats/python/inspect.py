"""Reads what a Python file says of itself.

Source: python-index contract sections 2.3 to 2.5.
"""

from __future__ import annotations

from pathlib import Path

from shared.formats.interface import Coordinates, Inspected
from shared.formats.python.names import WHEEL
from shared.formats.python.sdist import inspect_sdist
from shared.formats.python.wheel import inspect_wheel


def inspect(path: Path, coordinates: Coordinates) -> Inspected:
    """Read a file's metadata and check its structure, in one pass and under limits; blocking, so run it in a thread.

    Args:
        path: the bytes, under any name.
        coordinates: what `parse_name` read from the name the file was sent under.

    Raises:
        InvalidFile: with every fault found, the most telling first.
    """
    return inspect_wheel(path, coordinates) if coordinates.package_type == WHEEL else inspect_sdist(path, coordinates)
