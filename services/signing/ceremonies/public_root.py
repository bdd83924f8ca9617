"""The trust root of the public Sigstore instance, as the installed sigstore library brings it along: bytes of a file.

The library is found and not imported: a server that signs an index loads none of it.
Source: trust contract section 5.2; ADR 0031 (why not the copy in the home folder); ADR 0040.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_FOLDER = "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev"
"""Where the library keeps what its TUF repository for production says, in its folder `_store`."""

_MAX_BYTES = 1 << 20


class NoPublicRoot(Exception):
    """The library is not installed, or keeps its root elsewhere."""


def public_root() -> bytes:
    """Return the root. Blocking.

    Raises:
        NoPublicRoot: there is none.
    """
    spec = find_spec("sigstore")
    for folder in () if spec is None else spec.submodule_search_locations or ():
        path = Path(folder, "_store", _FOLDER, "trusted_root.json")
        if path.is_file() and path.stat().st_size <= _MAX_BYTES:
            return path.read_bytes()
    raise NoPublicRoot("the installed sigstore library brings no trusted_root.json along: install the locked version")
