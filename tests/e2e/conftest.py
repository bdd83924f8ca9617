"""One running deployment for the tests that only use it; those that start and stop their own take `data`.

Which one it is, the option `--deployment` says: one process, or the real profile, started once for all tests.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, StorageState

from tests.support.company import ASKING_HERE
from tests.support.looks import LOOKS, a_browser, sign_in
from tests.support.processes import Deployment, start_deployment, start_stack
from tests.support.real import CHROMIUM, find_programs
from tests.support.tools import CACHE, NotReachable, Tools, install_devpi_server, install_tools


@pytest.fixture(scope="session")
def deployment(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """A fresh deployment, running until the end of the session; tests in it use projects of their own.

    It may ask upstreams of mirrors on this machine.
    """
    on_stack = request.config.getoption("--deployment") == "stack"
    if on_stack and isinstance(fault := find_programs(), Exception):
        raise fault
    with tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as folder:
        running = (start_stack if on_stack else start_deployment)(Path(folder) / "data", *ASKING_HERE)
        try:
            yield running
        finally:
            running.process.end()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A real headless Chromium."""
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    with a_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def signed_in(seeded: Deployment, chromium: Browser) -> StorageState:
    """The cookies of the owner's browser; a module's `seeded` is the deployment that has its data."""
    return sign_in(seeded, chromium)


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest) -> str:
    """Light, dark, and a phone."""
    return str(request.param)


@pytest.fixture
def page(look: str, chromium: Browser, signed_in: StorageState) -> Iterator[Page]:
    """A signed-in tab, in each look."""
    scheme, viewport = LOOKS[look]
    context = chromium.new_context(storage_state=signed_in, color_scheme=scheme, viewport=viewport)
    yield context.new_page()
    context.close()


@pytest.fixture
def plain(chromium: Browser, signed_in: StorageState) -> Iterator[Page]:
    """A signed-in tab of a browser whose scripts are off."""
    context = chromium.new_context(storage_state=signed_in, java_script_enabled=False)
    yield context.new_page()
    context.close()


@pytest.fixture
def data() -> Iterator[Path]:
    """A place for a data folder of the test's own; short, since a unix socket's path has a narrow limit."""
    with tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "data"


@pytest.fixture
def stack_data() -> Iterator[Path]:
    """The same for the real profile."""
    with tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "data"


@pytest.fixture(scope="session")
def tool_programs() -> Path:
    """The folder of programs of the locked tools; installed once, which needs a package registry."""
    return _or_skip(install_tools)


@pytest.fixture(scope="session")
def devpi_server_programs() -> Path:
    """The folder of programs of devpi-server; installed once, which needs a package registry."""
    return _or_skip(install_devpi_server)


def _or_skip(install: Callable[[Path], Path]) -> Path:
    try:
        return install(CACHE)
    except NotReachable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no package registry answers, from which the real programs could be installed: {error}")


@pytest.fixture
def tools(tool_programs: Path, tmp_path: Path) -> Tools:
    """The locked tools with a home of the test's own, so that they know nothing from before."""
    home = tmp_path / "home"
    home.mkdir()
    return Tools(tool_programs, home)
