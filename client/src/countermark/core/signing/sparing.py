"""Keeps the libraries of key services out of processes whose keys are elsewhere.

`securesystemslib.signer` is loaded with TUF's metadata, and loads the library of every key service that is installed:
boto3, hvac and python-pkcs11 are 20 MB and a second of a process that reads one key from a file. A program calls
`spare` before it imports anything else of ours. What the URI of a key needs is loaded when it is asked for
(`countermark.core.signing.services`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_PACKAGE = "securesystemslib.signer"

LIBRARIES = ("azure.core", "boto3", "google.cloud.kms", "hvac", "keylet", "pkcs11")
"""What the package tries to import, and does without: each of its modules notes the failure, and tells it when used."""


def spare() -> None:
    """Have `securesystemslib.signer` loaded without the libraries of key services; nothing else is changed.

    Whoever imports such a library by its name gets it.
    """
    if _PACKAGE not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds the package where the others do, and has it loaded by `_Loader`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how a module is loaded, None for all but the one."""
        if fullname != _PACKAGE:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(Loader):
    """Loads a module as another loader does, with some libraries out of the way."""

    def __init__(self, inner: Loader) -> None:
        self._inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return what the other loader makes."""
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module."""
        held_back = [name for name in LIBRARIES if name not in sys.modules]
        # None in the place of a module: importing it fails as if it were not installed (`importlib`'s documentation).
        sys.modules.update(dict.fromkeys(held_back))  # type: ignore[arg-type]
        try:
            self._inner.exec_module(module)
        finally:
            for name in held_back:
                del sys.modules[name]
