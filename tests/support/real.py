"""The real servers for tests: Postgres 15, Redis 7 and an S3 server over TLS, of programs that the suite installs."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.errors import LaunchError
from deploy.stack.programs import Programs, cache_folder, ensure_programs
from deploy.stack.servers import RealServers, make_servers
from tests.support.servers import running

CHROMIUM = Path("/usr/bin/chromium")
"""Where Debian puts the browser."""

CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
"""What keeps it to itself."""

NEEDING_PROGRAMS = frozenset({"real_programs", "s3", "plain_s3"})
"""Fixtures for which the programs have to be there."""


@functools.cache
def find_programs() -> Programs | LaunchError:
    """Return the programs of the real profile, installed where that can be done, or why they are not to be had."""
    try:
        return ensure_programs(cache_folder(os.environ), lambda text: print(text, file=sys.stderr))
    except LaunchError as error:
        return error


def programs_or_skip() -> Programs:
    """Return the programs of the real profile; without them the test is skipped at home, and fails in CI."""
    found = find_programs()
    if isinstance(found, Programs):
        return found
    if os.environ.get("CI"):
        raise found
    pytest.skip(str(found))


@contextmanager
def running_servers(folder: Path, programs: Programs) -> Iterator[RealServers]:
    """Run the three servers in a folder."""
    with running(lambda _: make_servers(folder, programs)) as servers:
        yield servers
