"""Writes what devpi-export writes (devpi-server 6.20, dump version 2), for imports of any size.

The shape was read off exports of a real server; every file is made here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.wheels import make_wheel

_WHEN = [2026, 1, 2, 3, 4, 5]
_MODIFIED = "Fri, 02 Jan 2026 03:04:05 GMT"

STAGE: Mapping[str, Any] = {
    "type": "stage",
    "volatile": True,
    "bases": [],
    "acl_upload": ["alice"],
    "acl_toxresult_upload": [":ANONYMOUS:"],
    "mirror_whitelist": [],
    "mirror_whitelist_inheritance": "intersection",
}
"""Configuration of a stage as devpi makes it, but for its owner."""


@dataclass
class ExportFolder:
    """An export that is being written; `document` is its index, kept when `close` is called."""

    path: Path
    document: dict[str, Any] = field(
        default_factory=lambda: {
            "users": {},
            "indexes": {},
            "dumpversion": "2",
            "pythonversion": [3, 11, 0, "final", 0],
            "devpi_server": "6.20.3",
        }
    )

    def user(self, name: str, pwhash: str, **more: object) -> None:
        """Add an account."""
        created = {"created": "2025-01-01T00:00:00Z", "username": name}
        self.document["users"][name] = {"pwhash": pwhash, **created, **more}

    def index(self, name: str, **config: object) -> None:
        """Add an index; `config` in place of the defaults of a stage."""
        merged = {**STAGE, "acl_upload": [name.partition("/")[0]], **config}
        self.document["indexes"][name] = {"indexconfig": merged, "projects": {}, "files": []}

    def release(self, index: str, project: str, version: str, **said: object) -> None:
        """Add a version with its metadata."""
        versions = self.document["indexes"][index]["projects"].setdefault(project, {})
        versions[version] = {"name": project, "version": version, "summary": "", "classifiers": [], **said}

    def file(self, index: str, project: str, version: str, name: str, content: bytes, who: str = "alice") -> str:
        """Add a release file and return where it is."""
        path = f"{index}/{project}/{version}/{name}"
        self.put(index, "releasefile", path, content, (project, version, who))
        return path

    def put(self, index: str, kind: str, path: str, content: bytes, of: tuple[str, str, str], **more: object) -> None:
        """Add a file of any kind.

        Args:
            of: project, version, and who uploaded it.
            more: further keys of its entry, or others in place of those that devpi writes.
        """
        project, version, who = of
        digest = hashlib.sha256(content).hexdigest()
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        self.document["indexes"][index]["files"].append(
            {
                "version": version,
                "entrymapping": {
                    "last_modified": _MODIFIED,
                    "hash_spec": f"sha256={digest}",
                    "hashes": {"sha256": digest},
                    "project": project,
                    "version": version,
                },
                "log": [{"what": "upload", "who": who, "when": _WHEN, "dst": index}],
                "type": kind,
                "projectname": project,
                "relpath": path,
                **more,
            }
        )

    def close(self) -> Path:
        """Write the index of the export; returns its folder."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "dataindex.json").write_text(json.dumps(self.document, indent=2), encoding="utf-8")
        return self.path


def write_many(path: Path, files: int, per_project: int = 20, owners: Sequence[str] = ("alice",)) -> Path:
    """Write an export of many small wheels in one index of each owner, and return its folder."""
    export = ExportFolder(path)
    for owner in owners:
        export.user(owner, "")
        export.index(f"{owner}/dev")
        for number in range(files // len(owners)):
            project, version = f"many-{number // per_project}", f"1.{number % per_project}"
            wheel = make_wheel(project, version)
            export.release(f"{owner}/dev", project, version, summary="One of many", requires_python=">=3.9")
            export.file(f"{owner}/dev", project, version, wheel.filename, wheel.content, who=owner)
    return export.close()
