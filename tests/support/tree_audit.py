"""An independent look at everything a published tree names: stock python-tuf and a YAML reader, none of our code.

Source: architecture section 5, invariant 1; trust contract section 2.6 (write order).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import yaml
from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp

Read = Callable[[str], bytes | None]
"""Returns the bytes under a path of an index's tree (`metadata/...`, `targets/...`, `files/...`), None for nothing."""

_NOT_BINS = frozenset({"targets", "trust", "registry"})


@dataclass(slots=True)
class Found:
    """What a tree names, all of it read and compared.

    Attributes:
        versions: role -> version, for timestamp, snapshot and every role the snapshot lists.
        pointers: target path -> the pointer's mapping.
        pages: project -> its page document.
        faults: what does not hold, one sentence each.
    """

    versions: dict[str, int] = field(default_factory=dict)
    pointers: dict[str, dict[str, Any]] = field(default_factory=dict)
    pages: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def listed(self, project: str) -> set[str]:
        """Return the names of the files that a project's signed page lists."""
        return {file["filename"] for file in self.pages.get(project, {"files": []})["files"]}

    def pointed(self, project: str) -> set[str]:
        """Return the names of the files of a project that have a signed pointer."""
        prefix = f"pointers/{project}/"
        names = {path.removeprefix(prefix) for path in self.pointers if path.startswith(prefix)}
        return {name.removesuffix(".pointer").replace("~", "+") for name in names} - {"_latest"}


def folder_reader(root: Path, index: str) -> Read:
    """Return what reads the tree of an index from the folder of one side of the object store."""

    def read(path: str) -> bytes | None:
        file = root / path if path.startswith("files/") else root / "indexes" / index / path
        return file.read_bytes() if file.is_file() else None

    return read


def face_reader(client: httpx2.Client, index_url: str) -> Read:
    """Return what reads the tree of an index from its `+tuf` face, which any TUF client uses."""

    def read(path: str) -> bytes | None:
        answer = client.get(f"{index_url}/+tuf/{quote(path)}")
        return answer.content if answer.status_code == 200 else None

    return read


def audit(read: Read) -> Found:
    """Read everything the current timestamp leads to and compare lengths, digests, versions and one with another."""
    found = Found()
    timestamp: Timestamp | None = _signed(read, "metadata/timestamp.json", found)
    if timestamp is None:
        return found
    version = timestamp.snapshot_meta.version
    snapshot: Snapshot | None = _signed(read, f"metadata/{version}.snapshot.json", found)
    found.versions |= {"timestamp": timestamp.version, "snapshot": version}
    if snapshot is None:
        return found
    for name, meta in snapshot.meta.items():
        role = name.removesuffix(".json")
        signed: Targets | None = _signed(read, f"metadata/{meta.version}.{role}.json", found)
        found.versions[role] = meta.version
        if signed is None:
            continue
        if signed.version != meta.version:
            found.faults.append(f"{name} says version {signed.version}, the snapshot {meta.version}")
        if role not in _NOT_BINS:
            for path, target in signed.targets.items():
                _read_target(read, path, target.hashes["sha256"], target.length, found)
    for project in {path.split("/")[1] for path in found.pointers} | set(found.pages):
        if found.listed(project) != found.pointed(project):
            found.faults.append(f"{project}: page lists {found.listed(project)}, pointers {found.pointed(project)}")
    return found


def _read_target(read: Read, path: str, sha256: str, length: int, found: Found) -> None:
    folder, _, last = path.rpartition("/")
    content = read(f"targets/{folder}/{sha256}.{last}")
    if content is None or len(content) != length or hashlib.sha256(content).hexdigest() != sha256:
        found.faults.append(f"target {path} is missing or other bytes")
        return
    if last == "_simple.json":
        found.pages[path.split("/")[1]] = json.loads(content)
    elif last.endswith(".pointer"):
        found.pointers[path] = yaml.load(content, Loader=yaml.BaseLoader)["pointer"]
        if last != "_latest.pointer":
            _read_file(read, path, found)


def _read_file(read: Read, path: str, found: Found) -> None:
    pointer = found.pointers[path]
    content = read(pointer["uri"].removeprefix("/"))
    if (
        content is None
        or len(content) != int(pointer["length"])
        or hashlib.sha256(content).hexdigest() != pointer["digest"]
    ):
        found.faults.append(f"the file of {path} is missing or other bytes")


def _signed(read: Read, path: str, found: Found) -> Any:
    content = read(path)
    if content is None:
        found.faults.append(f"{path} is missing")
        return None
    return Metadata[Any].from_bytes(content).signed
