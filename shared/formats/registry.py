"""The formats this deployment knows, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from shared.formats.interface import Format
from shared.formats.python.format import PythonFormat
from shared.formats.python.names import FORMAT as PYTHON

FORMATS: Mapping[str, Format] = MappingProxyType({PYTHON: PythonFormat()})
"""Format name, as in coordinates and the catalogue -> format."""
