"""Building a project into a wheel and an sdist, each with the pointer that an index will sign for it.

The pointer's bytes follow from the file alone (trust contract section 3.2: "reproducible"), so what is written here can
be compared with what the index publishes. Beside it lies what is known of the build, as a statement for `countermark
attest` to sign.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from build import (
    BuildBackendException,
    BuildException,
    DistributionType,
    FailedProcessError,
    ProjectBuilder,
)
from build.env import DefaultIsolatedEnv

from countermark.attesting.beside import STATEMENT
from countermark.attesting.environment import installed_in
from countermark.core.attestations.making import Build, Course, Subject, provenance_statement
from countermark.core.digest import Length, measure
from countermark.core.errors import BuildFailed
from countermark.core.filenames import Distribution, parse_distribution
from countermark.core.names import IndexName, InvalidName
from countermark.core.pointer import Pointer, Resource
from countermark.transport import CHUNK

KINDS: tuple[DistributionType, ...] = ("sdist", "wheel")
"""What is built, in this order."""


@dataclass(frozen=True, slots=True)
class Built:
    """A built file and what was written beside it: the pointer document, and the statement if one was asked for."""

    file: Path
    pointer: Path
    statement: Path | None


def build_project(
    source: Path, out: Path, index: IndexName, *, isolated: bool = True, described: Build | None = None
) -> list[Built]:
    """Build sdist and wheel of a project and write their pointers.

    Args:
        source: the folder with `pyproject.toml`.
        out: where the files go; made when missing.
        index: the index the pointers name.
        isolated: build in a fresh environment with the declared requirements, else in this one.
        described: what is known of the build; then a statement with its provenance is written beside each file.

    Raises:
        BuildFailed: the backend failed, its requirements could not be installed, or it named a file wrongly.
    """
    if not source.is_dir():
        raise BuildFailed(f"{source} is not a folder", "Name the folder that holds pyproject.toml.")
    built = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            began = datetime.now(UTC)
            name, tools = _isolated(source, kind, out) if isolated else (_in_this_one(source, kind, out), {})
            file, course = Path(name), Course(began, datetime.now(UTC), tools)
            pointer = pointer_for(file, _distribution(file), index)
            written = _write_beside(file, ".pointer", pointer.to_bytes())
            statement = None
            if described is not None:
                provenance = provenance_statement(Subject(file.name, pointer.file.digest), described, course)
                statement = _write_beside(file, STATEMENT, provenance)
            built.append(Built(file, written, statement))
    except (BuildException, BuildBackendException, FailedProcessError, subprocess.CalledProcessError) as error:
        raise BuildFailed(f"{source}: {error}".rstrip("."), "The backend's own output is above.") from error
    except OSError as error:
        raise BuildFailed(f"{error.filename or out}: {error.strerror or error}") from error
    return built


def pointer_for(file: Path, distribution: Distribution, index: IndexName) -> Pointer:
    """Return the pointer of a local file as an index will sign it.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        found = measure(iter(lambda: stream.read(CHUNK), b""))
    uri = f"/files/{found.sha256[:2]}/{found.sha256[2:]}/{distribution.file_name}"
    return Pointer(
        name=distribution.project,
        version=str(distribution.version),
        index=index,
        file=Resource(uri, found.sha256, Length(found.length)),
    )


def _isolated(source: Path, kind: DistributionType, out: Path) -> tuple[str, dict[str, str]]:
    """Build in a fresh environment; returns the file and what was installed there."""
    with DefaultIsolatedEnv() as environment:
        builder = ProjectBuilder.from_isolated_env(environment, source, runner=_run)
        environment.install(builder.build_system_requires)
        environment.install(builder.get_requires_for_build(kind))
        # Before the backend runs, which may change all of it.
        tools = installed_in(Path(environment.path))
        return builder.build(kind, out), tools


def _in_this_one(source: Path, kind: DistributionType, out: Path) -> str:
    return ProjectBuilder(source, runner=_run).build(kind, out)


def _run(cmd: Sequence[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None) -> None:
    """Run the backend with its talk on the error stream: ours holds the paths of what was built."""
    environment = {**os.environ, **(extra_environ or {})}
    subprocess.run(cmd, cwd=cwd, env=environment, check=True, stdout=2)  # noqa: S603 - the backend's own command


def _distribution(file: Path) -> Distribution:
    try:
        return parse_distribution(file.name)
    except InvalidName as error:
        raise BuildFailed(f"the backend made a file that no index takes: {error}") from error


def _write_beside(file: Path, suffix: str, data: bytes) -> Path:
    path = file.with_name(f"{file.name}{suffix}")
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    os.replace(temporary, path)
    return path
