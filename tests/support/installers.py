"""The tools that resolve and install Python projects, each called as its users call it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.tools import Tools


@dataclass(frozen=True, slots=True)
class Source:
    """An index to install from; the token is empty where nobody needs one."""

    simple: str
    token: str = ""

    @property
    def with_token(self) -> str:
        """Its URL, with the token as password in it."""
        parts = urlsplit(self.simple)
        host = f"__token__:{self.token}@{parts.netloc}" if self.token else parts.netloc
        return parts._replace(netloc=host).geturl()


@dataclass(frozen=True, slots=True)
class Wish:
    """What to install, from where, and into which folder; a folder that was used before keeps its lock."""

    requirement: str
    source: Source
    folder: Path

    @property
    def environment(self) -> Path:
        """The virtual environment in the folder."""
        return self.folder / ".venv"

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.environment / "bin" / "python")


@dataclass(frozen=True, slots=True)
class Installer:
    """One way to install.

    Attributes:
        name: the tool.
        lock: resolves into a lock file.
        sync: installs what the lock file says and nothing else.
        lockfile: its name; empty for a tool that keeps none.
    """

    name: str
    lock: Callable[[Tools, Wish], str]
    sync: Callable[[Tools, Wish], str]
    lockfile: str = ""

    def __str__(self) -> str:
        """Return its name, for the names of tests."""
        return self.name

    def install(self, tools: Tools, wish: Wish) -> dict[str, str]:
        """Resolve and install, and return what is installed then: project -> version."""
        self.lock(tools, wish)
        return self.install_locked(tools, wish)

    def install_locked(self, tools: Tools, wish: Wish) -> dict[str, str]:
        """Install what was locked, and return what is installed then."""
        self.sync(tools, wish)
        return installed(wish.environment)


_TOOLS_THEMSELVES = frozenset({"pip", "setuptools", "wheel"})


def installed(environment: Path) -> dict[str, str]:
    """Return what is installed in an environment: normalised name -> version."""
    pairs = [
        path.name.removesuffix(".dist-info").split("-") for path in environment.glob("lib/*/site-packages/*.dist-info")
    ]
    return {name.replace("_", "-"): version for name, version in pairs if name not in _TOOLS_THEMSELVES}


def make_environment(tools: Tools, wish: Wish) -> None:
    """Make an empty environment of the tools' own Python."""
    wish.folder.mkdir(parents=True, exist_ok=True)
    if not wish.environment.exists():
        tools.done("uv", "venv", "--python", tools.programs / "python", wish.environment)


def pip(tools: Tools, wish: Wish, *options: str | Path) -> str:
    """Run `pip install`."""
    make_environment(tools, wish)
    source = ("--index-url", wish.source.with_token)
    return tools.done("pip", "--python", wish.python, "install", *source, *options, wish.requirement)


def uv(tools: Tools, wish: Wish, *options: str | Path) -> str:
    """Run `uv pip install`."""
    make_environment(tools, wish)
    source = ("--default-index", wish.source.with_token)
    return tools.done("uv", "pip", "install", "--python", wish.python, *source, *options, wish.requirement)


def write_project(wish: Wish, more: str) -> None:
    """Write a `pyproject.toml` that depends on what is wished, unless the folder has one."""
    wish.folder.mkdir(parents=True, exist_ok=True)
    path = wish.folder / "pyproject.toml"
    if not path.exists():
        path.write_text(
            '[project]\nname = "consumer"\nversion = "0"\nrequires-python = ">=3.11"\n'
            f'dependencies = ["{wish.requirement}"]\n{more}'
        )


def _uv_project(tools: Tools, wish: Wish) -> Tools:
    write_project(wish, f'[[tool.uv.index]]\nname = "matrix"\nurl = "{wish.source.simple}"\ndefault = true\n')
    there = tools.with_settings(UV_PYTHON=str(tools.programs / "python"), UV_NO_CONFIG="0")
    if not wish.source.token:
        return there
    return there.with_settings(UV_INDEX_MATRIX_USERNAME="__token__", UV_INDEX_MATRIX_PASSWORD=wish.source.token)


def _poetry(tools: Tools, wish: Wish) -> Tools:
    source = f'[[tool.poetry.source]]\nname = "matrix"\nurl = "{wish.source.simple}"\npriority = "primary"\n'
    write_project(wish, f"[tool.poetry]\npackage-mode = false\n{source}")
    if not wish.source.token:
        return tools
    return tools.with_settings(
        POETRY_HTTP_BASIC_MATRIX_USERNAME="__token__", POETRY_HTTP_BASIC_MATRIX_PASSWORD=wish.source.token
    )


def _pdm(tools: Tools, wish: Wish) -> Tools:
    # The name is that of the source which it replaces.
    source = f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{wish.source.simple}"\n'
    write_project(wish, f"[tool.pdm]\ndistribution = false\n{source}")
    make_environment(tools, wish)
    if not wish.source.token:
        return tools
    return tools.with_settings(PDM_PYPI_USERNAME="__token__", PDM_PYPI_PASSWORD=wish.source.token)


def _lock_nothing(_tools: Tools, _wish: Wish) -> str:
    return ""


PIP = Installer("pip", _lock_nothing, pip)
UV = Installer("uv", _lock_nothing, uv)
UV_PROJECT = Installer(
    "uv-project",
    lambda tools, wish: _uv_project(tools, wish).done("uv", "lock", folder=wish.folder),
    lambda tools, wish: _uv_project(tools, wish).done("uv", "sync", "--locked", folder=wish.folder),
    "uv.lock",
)
POETRY = Installer(
    "poetry",
    lambda tools, wish: _poetry(tools, wish).done("poetry", "lock", "--no-interaction", folder=wish.folder),
    lambda tools, wish: _poetry(tools, wish).done("poetry", "sync", "--no-interaction", folder=wish.folder),
    "poetry.lock",
)
PDM = Installer(
    "pdm",
    lambda tools, wish: _pdm(tools, wish).done("pdm", "lock", folder=wish.folder),
    lambda tools, wish: _pdm(tools, wish).done("pdm", "sync", folder=wish.folder),
    "pdm.lock",
)

INSTALLERS = (PIP, UV, UV_PROJECT, POETRY, PDM)
LOCKING = (UV_PROJECT, POETRY, PDM)
