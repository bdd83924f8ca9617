"""What the catalogue says of a new file that the file's own name contradicts; such a file is never signed. Pure.

Bytes are hashed before they are signed (`services.signing.publication.tree`); nothing but its name says which release
a file is of.
Source: trust contract sections 3.2 ("Binding") and 6 (row 17).
"""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

from countermark.core.filenames import parse_distribution
from countermark.core.names import InvalidName
from shared.catalogue.publication_rows import FileState


def contradiction(file: FileState) -> str | None:
    """Return what is wrong with a file's version, as one sentence; None when nothing is.

    A name that tells no version contradicts none: no client takes its pointer.
    """
    try:
        named = parse_distribution(file.file_name).version
        stated: Version | None = Version(file.version)
    except InvalidName:
        return None
    except InvalidVersion:
        stated = None
    if named == stated:
        return None
    return f"the catalogue says that {file.file_name} is of version {file.version}: it is not signed"
