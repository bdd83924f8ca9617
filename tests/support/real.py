"""The real servers for tests: Postgres 15, Redis 7 and an S3 server over TLS, of programs that the suite installs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.errors import LaunchError
from deploy.stack.programs import Programs, cache_folder, ensure_programs
from deploy.stack.servers import RealServers, make_servers
from tests.support.servers import running


def programs_or_skip() -> Programs:
    """Return the programs of the real profile; without them the test is skipped at home, and fails in CI."""
    try:
        return ensure_programs(cache_folder(os.environ), lambda text: print(text, file=sys.stderr))
    except LaunchError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@contextmanager
def running_servers(programs: Programs) -> Iterator[RealServers]:
    """Run the three servers in a folder of their own."""
    with running(lambda folder: make_servers(folder / "servers", programs)) as servers:
        yield servers


def environment_of(settings: dict[str, str]) -> dict[str, str]:
    """Return settings as environment variables of a process of ours."""
    return {f"COUNTERMARK_{key.replace('.', '__').upper()}": value for key, value in settings.items()}
