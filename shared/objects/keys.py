"""Names of stored objects: the published tree, as readers without us see it. Pure.

Source: architecture section 6.
"""

from __future__ import annotations

import re

from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName, NormalizedName, TargetPath
from shared.ids import IndexId
from shared.objects.interface import Key

MAX_KEY = 1024
"""Characters of a key. Source: S3 user guide, "Naming Amazon S3 objects" (1,024 bytes of UTF-8)."""

FILES = "files/"
"""What the keys of files and of their core metadata begin with."""

MIRRORED = "mirror/"
"""What the keys begin with of bytes that were fetched from upstreams; they lie on the private side of the store."""

PROVENANCE_DOCUMENT, BUNDLE_LIST = ".provenance.json", ".bundles.json"
"""What follows a file's name in the names of the static documents about its attestations: the PEP 740 object, and the
list of the bundles that such an object cannot hold."""

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._!+~-]{0,254}\Z")


class InvalidKey(ValueError):
    """The text is no key: it could name something outside the store, or two stores would read it differently."""

    def __init__(self, text: str) -> None:
        super().__init__(f"not a key of the object store: {text[:100]!r}")


def check_key(text: str) -> Key:
    """Return `text` as a key: every adapter asks before it touches anything.

    A segment begins with a letter, a digit or `_` and holds no character that a file system, a URL or a shell reads
    in its
    own way; so none is hidden, none climbs, and all are one byte per character.

    Raises:
        InvalidKey: a segment is empty, too long (255 characters) or holds another character, or the whole exceeds
        `MAX_KEY`.
    """
    if len(text) > MAX_KEY or not all(_SEGMENT.match(segment) for segment in text.split("/")):
        raise InvalidKey(text)
    return Key(text)


def check_prefix(text: str) -> str:
    """Return `text` if it can begin a key: whole segments and perhaps the beginning of one; also the empty text.

    Raises:
        InvalidKey: no key begins like this.
    """
    check_key(f"{text}0" if text == "" or text.endswith("/") else text)
    return text


def file_key(sha256: Sha256, file_name: FileName) -> Key:
    """Return the key of a file's bytes, named by content once per side of the store."""
    return Key(f"{FILES}{sha256[:2]}/{sha256[2:]}/{file_name}")


def core_metadata_key(sha256: Sha256, file_name: FileName) -> Key:
    """Return the key of a wheel's METADATA bytes: the file's key plus `.metadata` (PEP 658), under the *wheel's*
    digest."""
    return Key(f"{file_key(sha256, file_name)}.metadata")


def bundle_key(sha256: Sha256, file_name: FileName) -> Key:
    """Return the key of a Sigstore bundle about a file: its own digest, the file's name and `.sigstore.json`."""
    return Key(f"{file_key(sha256, file_name)}.sigstore.json")


def mirrored_key(index_id: IndexId, life: int, digest: Sha256, name: str) -> Key:
    """Return the key of bytes that a mirror fetched.

    Each mirror has its own: knowing the digest of what another one fetched with its credentials gives nothing.

    Args:
        digest: of the bytes, or of their URL where nobody says what bytes they are.
        name: a file's name, and maybe what stands behind it (`.metadata`).
    """
    return Key(f"{MIRRORED}{index_id.hex}/{life}/{digest[:2]}/{digest[2:]}/{name}")


def index_prefix(index: IndexName) -> str:
    """Return the prefix of everything that belongs to one index, with its trailing slash."""
    return f"indexes/{index}/"


def metadata_key(index: IndexName, role: str, version: int) -> Key:
    """Return the key of one version of a role's TUF metadata (consistent snapshot naming)."""
    return Key(f"{index_prefix(index)}metadata/{version}.{role}.json")


def timestamp_key(index: IndexName) -> Key:
    """Return the key of the timestamp, the one metadata file without a version in its name."""
    return Key(f"{index_prefix(index)}metadata/timestamp.json")


def target_key(index: IndexName, target: TargetPath, sha256: Sha256) -> Key:
    """Return the key of a target as TUF clients ask for it: the digest before the last segment."""
    folder, slash, last = target.rpartition("/")
    return Key(f"{index_prefix(index)}targets/{folder}{slash}{sha256}.{last}")


def plain_target_key(index: IndexName, target: TargetPath) -> Key:
    """Return the key of the copy of a target under its plain name, for people; replaced when the target changes."""
    return Key(f"{index_prefix(index)}{target}")


def static_page_key(index: IndexName, project: NormalizedName | None, extension: str) -> Key:
    """Return the key of a static page: of a project, or of the project list when `project` is None.

    Args:
        extension: `html` or `json`.
    """
    folder = "simple/" if project is None else f"simple/{project}/"
    return Key(f"{index_prefix(index)}{folder}index.{extension}")


def attested_prefix(index: IndexName) -> str:
    """Return the prefix of the static documents about attestations of an index, with its trailing slash."""
    return f"{index_prefix(index)}attestations/"


def attested_key(index: IndexName, project: NormalizedName, file_name: FileName, document: str) -> Key:
    """Return the key of a static document about a file's attestations.

    Args:
        document: `PROVENANCE_DOCUMENT` or `BUNDLE_LIST`.
    """
    return Key(f"{attested_prefix(index)}{project}/{file_name}{document}")
