"""Keeps searches for garbage away from what stays for as long as the process, and from what goes by itself soon.

A search through everything takes some 70 ms, in which nobody is answered, and comes whenever a crowd of requests does.
Modules, applications and compiled statements never become garbage. What a request makes goes with it: searched for
after every 700 objects, as Python does of itself, it is found in use and looked at again and again, which took a tenth
of the time in which a mirror answers what it has to ask for.
"""

from __future__ import annotations

import gc
import importlib
from types import ModuleType

_THRESHOLDS = (50_000, 20, 10)
"""New objects after which the youngest are searched, how many such searches make one of the middle ones, and so on."""


def load(module: str) -> ModuleType:
    """Import a module for good. Imports make no garbage, and take an eighth longer while it is searched for.

    Raises:
        ImportError: it cannot be imported.
    """
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        settle()
        gc.enable()


def settle() -> None:
    """Have everything that is there now passed over from now on: for a process that is ready to serve."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
