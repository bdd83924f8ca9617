"""The lock files that real tools write, read by `mirror check` and `mirror warm`.

Each is made at the upstream itself, so that nothing of it is in the mirror yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.archives import make_wheel, wheel_name
from tests.support.company import ASKING_HERE, Company, open_company
from tests.support.installers import PDM, POETRY, UV_PROJECT, Source, Wish, write_project
from tests.support.processes import Deployment
from tests.support.tools import Tools

MACHINES = ("--python", "3.11", "--platform", "manylinux_2_28_x86_64")


@dataclass(frozen=True, slots=True)
class Writer:
    """A tool that locks what a wish asks for; `every_file` when it writes down what other machines would use, too."""

    name: str
    write: Callable[[Tools, Wish], str]
    every_file: bool = True

    def __str__(self) -> str:
        """Return its name, for the names of tests."""
        return self.name


def _uv_lock(tools: Tools, wish: Wish) -> str:
    UV_PROJECT.lock(tools, wish)
    return "uv.lock"


def _uv_export(name: str, *options: str) -> Callable[[Tools, Wish], str]:
    def write(tools: Tools, wish: Wish) -> str:
        _uv_lock(tools, wish)
        there = tools.with_settings(UV_PYTHON=str(tools.programs / "python"), UV_NO_CONFIG="0")
        there.done("uv", "export", "--frozen", "--no-emit-project", *options, "-o", name, folder=wish.folder)
        return name

    return write


def _uv_compile(tools: Tools, wish: Wish) -> str:
    write_project(wish, "")
    source = ("--default-index", wish.source.simple)
    options = ("--generate-hashes", "--python", tools.programs / "python", "-o", "requirements.txt")
    tools.done("uv", "pip", "compile", "pyproject.toml", *source, *options, folder=wish.folder)
    return "requirements.txt"


def _pip_lock(tools: Tools, wish: Wish) -> str:
    wish.folder.mkdir(parents=True)
    tools.done("pip", "lock", "--index-url", wish.source.simple, wish.requirement, folder=wish.folder)
    return "pylock.toml"


def _poetry_lock(tools: Tools, wish: Wish) -> str:
    POETRY.lock(tools, wish)
    return "poetry.lock"


def _pdm_export(kind: str, name: str) -> Callable[[Tools, Wish], str]:
    def write(tools: Tools, wish: Wish) -> str:
        PDM.lock(tools, wish)
        tools.done("pdm", "export", "-f", kind, "-o", name, folder=wish.folder)
        return name

    return write


WRITERS = (
    Writer("uv-lock", _uv_lock),
    Writer("uv-export-requirements", _uv_export("requirements.txt", "--format", "requirements.txt")),
    Writer("uv-export-pylock", _uv_export("pylock.toml", "--format", "pylock.toml")),
    Writer("uv-pip-compile", _uv_compile),
    Writer("pip-lock", _pip_lock, every_file=False),
    Writer("poetry-lock", _poetry_lock),
    Writer("pdm-export-requirements", _pdm_export("requirements", "requirements.txt")),
    Writer("pdm-export-pylock", _pdm_export("pylock", "pylock.toml")),
)


@pytest.fixture(scope="module")
def company(deployment: Deployment, tool_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A company whose builds have used nothing yet."""
    with open_company(deployment, tool_programs, tmp_path_factory.mktemp("home"), "locked") as company:
        yield company


@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_what_real_tools_lock(company: Company, tools: Tools, tmp_path: Path, writer: Writer) -> None:
    """Missing, fetched and kept, with what it needs; files for other machines alone are left to these."""
    above, below = f"{writer}-above", f"{writer}-below"
    company.release(above, "1.0", f"{below}>=1", metadata=_metadata(above, f"Requires-Dist: {below}>=1\n"))
    company.release(below, "1.0", metadata=_metadata(below))
    windows = wheel_name(below, "1.0").replace("py3-none-any", "cp311-cp311-win_amd64")
    company.upstream.add(below, windows, make_wheel(below, "1.0") + b" ", metadata=_metadata(below))
    wish = Wish(above, Source(f"{company.upstream.url}/simple/"), tmp_path / "project")
    lock = wish.folder / writer.write(tools, wish)

    def told(what: str, *options: str) -> list[str]:
        done = company.deployment.command("mirror", what, str(lock), "--index", company.name, *options)
        lines = done.stdout.splitlines()
        assert (done.returncode == 0) == all("missing" not in line for line in lines), done.stdout + done.stderr
        return [line for line in lines if "left out" not in line]

    assert sorted(told("check", *MACHINES)) == [
        "2 missing",
        f"missing: {above} 1.0: no index that is asked here has it",
        f"missing: {below} 1.0: no index that is asked here has it",
    ]
    assert told("warm", *MACHINES, *ASKING_HERE) == ["2 fetched"]
    assert told("check", *MACHINES) == ["2 kept"]
    if writer.every_file:
        assert told("check") == [f"missing: {windows}", "2 kept, 1 missing"]
    else:
        assert told("check") == ["2 kept"]


def _metadata(name: str, more: str = "") -> bytes:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{more}".encode()
