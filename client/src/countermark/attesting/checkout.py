"""What git says of the sources that are built.

Git is asked, not believed to be there: sources may come from anywhere. What it cannot say is left out, never guessed.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

_PATIENCE = 60
"""Seconds that git may take: looking at every file of a large tree takes some."""

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")
_SCP = re.compile(r"(?P<user>[^@/:]+@)?(?P<host>[^@/:]+):(?P<path>[^:]+)\Z")
"""An address as ssh writes it: host and path parted by a colon."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """The commit that lies in a working tree.

    Attributes:
        commit: its full hash, in hex.
        ref: the branch that is checked out (`refs/heads/...`), else a tag of exactly this commit; None without either.
        url: of the remote `origin`, without passwords; None where there is none.
        folder: of the project in the tree, "" for its top.
        is_dirty: whether any file differs from the commit, or is in none and not ignored.
    """

    commit: str
    ref: str | None
    url: str | None
    folder: str
    is_dirty: bool


def read_checkout(source: Path, out: Path) -> Checkout | None:
    """Ask git about the sources in a folder.

    Args:
        source: the folder with `pyproject.toml`.
        out: where built files go: what lies there makes no tree dirty.

    Returns:
        None where git is not installed, the folder is in no working tree, or its `pyproject.toml` in no commit.
    """
    commit, top = _ask(source, "rev-parse", "--verify", "HEAD"), _ask(source, "rev-parse", "--show-toplevel")
    if commit is None or top is None or not _COMMIT.match(commit):
        return None
    # A folder in somebody else's working tree is not of their commit.
    if _ask(source, "ls-files", "--error-unmatch", "--", "pyproject.toml") is None:
        return None
    url = _ask(source, "remote", "get-url", "origin")
    status = _ask(source, "status", "--porcelain", "--untracked-files=normal", "--", ":/", *_without(out, Path(top)))
    return Checkout(
        commit=commit,
        ref=_ask(source, "symbolic-ref", "--quiet", "HEAD") or _tag(source),
        url=None if url is None else public_url(url),
        folder=(_ask(source, "rev-parse", "--show-prefix") or "").rstrip("/"),
        is_dirty=status != "",
    )


def public_url(text: str) -> str | None:
    """Return the address of a remote as others may see it: without passwords; None for a path of this machine."""
    if "://" not in text:
        found = _SCP.match(text)
        return f"ssh://{found['user'] or ''}{found['host']}/{found['path'].lstrip('/')}" if found else None
    try:
        parts = urlsplit(text)
        host = parts.hostname
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return None
    if not host or parts.scheme not in {"https", "http", "ssh", "git"}:
        return None
    # The account of ssh is part of the address; one of https is whose token it was.
    user = f"{parts.username}@" if parts.scheme == "ssh" and parts.username else ""
    return urlunsplit((parts.scheme, f"{user}{host}{port}", parts.path, "", ""))


def _tag(source: Path) -> str | None:
    name = _ask(source, "describe", "--tags", "--exact-match", "HEAD")
    return f"refs/tags/{name}" if name else None


def _without(out: Path, top: Path) -> list[str]:
    folder = out.resolve()
    is_inside = folder.is_relative_to(top.resolve()) and folder != top.resolve()
    return [f":(top,exclude){folder.relative_to(top.resolve()).as_posix()}"] if is_inside else []


def _ask(folder: Path, *arguments: str) -> str | None:
    """Return what git prints; None when it fails, or is not there."""
    environment = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(  # noqa: S603 - git, with arguments of ours
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - the one of this machine
            env=environment,
            capture_output=True,
            timeout=_PATIENCE,
            check=True,
        )
        return done.stdout.decode("utf-8").strip("\n")
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
