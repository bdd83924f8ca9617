"""The tools that build and publish Python projects, each called as its users call it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.tools import Tools


@dataclass(frozen=True, slots=True)
class Target:
    """Where to publish, and with what."""

    url: str
    token: str


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of a tool, and environment variables that it reads its settings from."""

    arguments: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Publisher:
    """One tool.

    Attributes:
        name: its program.
        requirement: the distribution of its build backend.
        backend: the import path of that.
        build: the command that builds wheel and sdist of the project in the current folder into `dist`.
        call: returns how it publishes what is in `dist`.
        aloud: the option with which it shows what a server says; only where it does not by itself.
        takes_files: whether the files have to be named.
    """

    name: str
    requirement: str
    backend: str
    build: tuple[str, ...]
    call: Callable[[Target], Call]
    aloud: tuple[str, ...] = ()
    takes_files: bool = False

    def __str__(self) -> str:
        """Return its name, for the names of tests."""
        return self.name

    def make(self, tools: Tools, folder: Path, name: str, version: str, *, text: str = "The first text.") -> None:
        """Write the sources of a small project of this tool and build it.

        Args:
            tools: the programs.
            folder: where; what it holds of the project before is written over.
            name: of the project.
            version: of the project.
            text: in its sources and description; another one gives other bytes of the same release.
        """
        module = name.replace("-", "_")
        package = folder / "src" / module
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text(f'"""{text}"""\n\n\ndef main() -> None:\n    print("{version}")\n')
        (folder / "README.md").write_text(f"# {name}\n\n{text}\n")
        (folder / "LICENSE").write_text("Everybody may.\n")
        values = {"NAME": name, "MODULE": module, "VERSION": version}
        values |= {"REQUIREMENT": self.requirement, "BACKEND": self.backend}
        document = _PYPROJECT
        for key, value in values.items():
            document = document.replace(f"<{key}>", value)
        (folder / "pyproject.toml").write_text(document)
        # pdm builds with the backend of the environment that is active.
        active = tools.with_settings(VIRTUAL_ENV=str(tools.programs.parent))
        active.done(*self.build, folder=folder)

    def publish(self, tools: Tools, folder: Path, target: Target, *options: str) -> subprocess.CompletedProcess[str]:
        """Publish what was built in a folder."""
        call = self.call(target)
        files = files_of(folder) if self.takes_files else []
        there = tools.with_settings(VIRTUAL_ENV=str(tools.programs.parent), **call.settings)
        return there.run(self.name, *call.arguments, *options, *files, folder=folder)


_PYPROJECT = """
[build-system]
requires = ["<REQUIREMENT>"]
build-backend = "<BACKEND>"

[project]
name = "<NAME>"
version = "<VERSION>"
description = "A project with one of everything: Größe 1 → 2."
readme = "README.md"
license = "MIT"
license-files = ["LICENSE"]
requires-python = ">=3.9"
keywords = ["one", "two"]
authors = [{name = "Someone", email = "someone@example.org"}]
classifiers = ["Programming Language :: Python :: 3", "Topic :: Software Development"]
dependencies = ["absent>=1.2; python_version < '3'"]

[project.optional-dependencies]
more = ["absent[extra]!=2; os_name == 'nt'"]

[project.scripts]
<NAME> = "<MODULE>:main"

[project.urls]
Home = "https://example.org/<NAME>"
"""


def files_of(folder: Path) -> list[Path]:
    """Return what was built, wheels first."""
    return sorted((folder / "dist").glob("*.whl")) + sorted((folder / "dist").glob("*.tar.gz"))


def _twine(target: Target) -> Call:
    options = ("--non-interactive", "--disable-progress-bar", "--repository-url", target.url)
    return Call(("upload", *options, "-u", "__token__", "-p", target.token))


def _uv(target: Target) -> Call:
    return Call(("publish", "--trusted-publishing", "never", "--publish-url", target.url, "--token", target.token))


def _poetry(target: Target) -> Call:
    options = ("--no-interaction", "-r", "matrix", "-u", "__token__", "-p", target.token)
    return Call(("publish", *options), {"POETRY_REPOSITORIES_MATRIX_URL": target.url})


def _pdm(target: Target) -> Call:
    return Call(("publish", "--no-build", "-r", target.url, "-u", "__token__", "-P", target.token))


def _hatch(target: Target) -> Call:
    return Call(("publish", "--no-prompt", "-r", target.url, "-u", "__token__", "-a", target.token))


def _flit(target: Target) -> Call:
    # It builds once more by itself.
    settings = {"FLIT_INDEX_URL": target.url, "FLIT_USERNAME": "__token__", "FLIT_PASSWORD": target.token}
    return Call(("publish",), settings)


TWINE = Publisher(
    "twine", "setuptools", "setuptools.build_meta", ("pyproject-build", "--no-isolation"), _twine, takes_files=True
)
UV = Publisher("uv", "uv_build", "uv_build", ("uv", "build"), _uv)
POETRY = Publisher("poetry", "poetry-core", "poetry.core.masonry.api", ("poetry", "build"), _poetry)
# Its cache of answers forgets the reason phrase, so pdm alone shows a bare "409 Conflict".
PDM = Publisher("pdm", "pdm-backend", "pdm.backend", ("pdm", "build", "--no-isolation"), _pdm, aloud=("-vv",))
# `hatch build` fetches its backend from a registry each time; the backend's own program builds the same.
HATCH = Publisher("hatch", "hatchling", "hatchling.build", ("hatchling", "build"), _hatch)
FLIT = Publisher("flit", "flit_core", "flit_core.buildapi", ("flit", "build"), _flit)

PUBLISHERS = (TWINE, UV, POETRY, PDM, HATCH, FLIT)
