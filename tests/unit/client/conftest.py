"""A client in a folder of its own, in front of a simulated registry."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from packaging.tags import Tag
from packaging.version import Version
from typer.testing import CliRunner, Result

from countermark.cache import Cache
from countermark.chain import Step
from countermark.choosing import Interpreter, Wanted
from countermark.cli import app
from countermark.core.errors import ClientError
from countermark.core.filenames import parse_distribution
from countermark.core.names import parse_project_name
from countermark.location import Location
from countermark.roots import Pin, PinOrigin, PinStore, RootChoice, read_root
from countermark.transport import ByteSource
from countermark.verification import PolicyMode, Repository, Verifier
from countermark.views import ViewStore
from tests.support.simulator import RepositorySimulator
from tests.unit.client.family import GIZMO, Family
from tests.unit.client.loopback import Loopback, serving

Run = Callable[..., Result]
Cut = Callable[[], None]
"""Takes the network away."""
"""Runs the command line: arguments, and variables of the environment by name."""

PYTHON = Interpreter(Version("3.12.1"), (Tag("cp312", "cp312", "linux_x86_64"), Tag("py3", "none", "any")))
WHEEL = "widget-1.10-py3-none-any.whl"
WHEEL_TARGET = f"pointers/widget/{WHEEL}.pointer"


@dataclass
class Outcome:
    """How a run ended: exit code, placed files, and the words of a failure."""

    code: int
    placed: list[Path] = field(default_factory=list)
    words: str = ""


@dataclass
class Client:
    """One user's client: keeps its cache and pinned roots from run to run."""

    source: ByteSource
    location: Location
    home: Path
    choice: RootChoice = field(default_factory=RootChoice)
    notices: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @property
    def pins(self) -> PinStore:
        """The pinned roots."""
        return PinStore(self.home / "roots")

    @property
    def dest(self) -> Path:
        """Where files are placed."""
        return self.home / "dest"

    def pin(self, data: bytes) -> None:
        """Pin a root for the deployment."""
        self.pins.keep(Pin(self.location.deployment, PinOrigin.PINNED, read_root(data)))

    def verifier(self, mode: PolicyMode = PolicyMode.SIGNED) -> Verifier:
        """Return a fresh run."""
        self.steps.clear()
        repository = Repository(
            location=self.location,
            source=self.source,
            cache=Cache(self.home / "cache"),
            pins=self.pins,
            choice=self.choice,
            notify=self.notices.append,
            views=ViewStore(self.home / "views"),
        )
        return Verifier(repository, mode, self.steps.append)

    def get(
        self,
        name: str = "widget",
        version: str | None = "1.10",
        *,
        file: str | None = None,
        all_files: bool = False,
        mode: PolicyMode = PolicyMode.SIGNED,
    ) -> Outcome:
        """Download and tell how it ended."""
        wanted = Wanted(
            parse_project_name(name),
            Version(version) if version else None,
            parse_distribution(file) if file else None,
            all_files,
        )
        try:
            return Outcome(0, self.verifier(mode).download(wanted, self.dest, PYTHON))
        except ClientError as error:
            return Outcome(error.exit_code, words=str(error))

    def check(self, file: Path, mode: PolicyMode = PolicyMode.SIGNED) -> Outcome:
        """Verify a local file and tell how it ended."""
        try:
            self.verifier(mode).verify(file)
        except ClientError as error:
            return Outcome(error.exit_code, words=str(error))
        return Outcome(0)

    def left_behind(self) -> list[str]:
        """Return what lies in the destination folder."""
        return sorted(path.name for path in self.dest.iterdir()) if self.dest.exists() else []


@pytest.fixture
def sim() -> RepositorySimulator:
    """A registry with one published wheel."""
    simulator = RepositorySimulator()
    simulator.add_file(WHEEL, b"the real wheel\n")
    simulator.publish()
    return simulator


@pytest.fixture
def client(sim: RepositorySimulator, tmp_path: Path) -> Client:
    """A client that has pinned the registry's first root."""
    made = Client(sim, sim.location, tmp_path / "home")
    made.pin(sim.deployment.roots[0])
    return made


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command line with a home of its own."""

    def call(*arguments: str | Path, input: str | None = None, **environment: str) -> Result:  # noqa: A002 - as Click
        home = {"COUNTERMARK_HOME": str(tmp_path / "home"), "COLUMNS": "200", **environment}
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=input, env=home)

    return call


@pytest.fixture
def tree(sim: RepositorySimulator, tmp_path: Path) -> Path:
    """The index's folder in a static tree on disk."""
    return sim.write_tree(tmp_path / "data")


@pytest.fixture
def server() -> Iterator[Loopback]:
    """A running server."""
    with serving() as running:
        yield running


@pytest.fixture
def family(run: Run, server: Loopback, sim: RepositorySimulator, tmp_path: Path) -> Family:
    """Three indexes, served honestly."""
    return Family(run, server, sim, tmp_path / "dest")


@pytest.fixture
def known(family: Family) -> Family:
    """The same, whose bases this machine has recorded."""
    assert family.get("gizmo")[0] == 0
    (family.dest / GIZMO).unlink()
    return family


def pin_root(run: Run, tree: Path, tmp_path: Path) -> None:
    """Fetch the root of a tree and pin it, as a new user does."""
    root = tmp_path / "root.json"
    assert run("root", "fetch", tree, "-o", root).exit_code == 0
    assert run("root", "pin", tree, root).exit_code == 0


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Cut:
    """Let no socket connect any more: what tries to is a failure of the test, not of the network."""

    def refuse(*_arguments: object) -> None:
        pytest.fail("a connection was opened")

    return lambda: monkeypatch.setattr(socket.socket, "connect", refuse)
