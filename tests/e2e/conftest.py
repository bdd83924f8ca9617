"""One running deployment for the tests that only use it; those that start and stop their own take `data`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Deployment, start_deployment
from tests.support.tools import NotReachable, Tools, install_tools


@pytest.fixture(scope="session")
def deployment() -> Iterator[Deployment]:
    """A fresh embedded deployment, running until the end of the session; tests in it use projects of their own."""
    with tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as folder:
        running = start_deployment(Path(folder) / "data")
        try:
            yield running
        finally:
            running.process.end()


@pytest.fixture
def data() -> Iterator[Path]:
    """A place for a data folder of the test's own; short, since a unix socket's path has a narrow limit."""
    with tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "data"


@pytest.fixture(scope="session")
def tool_programs() -> Path:
    """The folder of programs of the locked tools; installed once, which needs a package registry."""
    try:
        return install_tools(Path.home() / ".cache" / "countermark-e2e")
    except NotReachable as error:
        pytest.skip(f"no package registry answers, from which the real clients could be installed: {error}")


@pytest.fixture
def tools(tool_programs: Path, tmp_path: Path) -> Tools:
    """The locked tools with a home of the test's own, so that they know nothing from before."""
    home = tmp_path / "home"
    home.mkdir()
    return Tools(tool_programs, home)
