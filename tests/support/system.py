"""Command `python -m tests.support.system`: installs what tests run beside Python, where that can be done.

These are the programs of the real profile, Chromium, faketime, and the real clients. What is missing after that is
said: at home the tests that need it are skipped, and in CI this fails.
"""

from __future__ import annotations

import os
import shutil
import sys

from deploy.errors import LaunchError
from deploy.stack.programs import cache_folder, ensure_programs, install_packages
from tests.support.real import CHROMIUM
from tests.support.tools import CACHE, NotReachable, install_devpi_server, install_tools


def main() -> int:
    """Install; returns the exit code."""
    faults = []
    for install in (_programs, _browser, _clock, _clients):
        try:
            install()
        except LaunchError as error:
            faults.append(str(error))
    for fault in faults:
        _say(f"countermark: {fault}")
    return 1 if faults and os.environ.get("CI") else 0


def _programs() -> None:
    ensure_programs(cache_folder(os.environ), _say)


def _browser() -> None:
    if not CHROMIUM.exists():
        install_packages(["chromium"], _say)


def _clock() -> None:
    if shutil.which("faketime") is None:
        install_packages(["faketime"], _say)


def _clients() -> None:
    try:
        install_tools(CACHE)
        install_devpi_server(CACHE)
    except (NotReachable, RuntimeError) as error:
        raise LaunchError(
            f"the real clients and devpi-server of the end-to-end suite cannot be installed: {error}"
        ) from error


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
