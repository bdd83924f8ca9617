"""One running deployment for the tests that only use it; those that start and stop their own take `data`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Deployment, start_deployment


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
