"""A real devpi-server from the registry, as it comes, to be asked the same as ours; it never asks anything upstream."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.support.processes import Process
from tests.support.waiting import until

_HOST = "127.0.0.1"


@contextmanager
def devpi_server(
    programs: Path, folder: Path, *options: str, password: str = "", offline: bool = True
) -> Iterator[str]:
    """Run devpi-server on data of its own; gives its URL without a trailing slash.

    Args:
        programs: folder of the programs of the locked tools.
        folder: an empty folder.
        options: more of its command line.
        password: root's; by default none, as its set-up leaves it.
        offline: whether it asks no upstream of its mirrors; else it begins without `root/pypi`.
    """
    data, port = folder / "devpi", _free_port()
    made = [str(programs / "devpi-init"), "--serverdir", str(data), "--root-passwd", password]
    bare = [] if offline else ["--no-root-pypi"]
    subprocess.run([*made, *bare], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    argv = (str(programs / "devpi-server"), "--serverdir", str(data), "--host", _HOST, "--port", str(port))
    asking = ("--offline-mode",) if offline else ()
    process = Process((*argv, *asking, *options), folder / "devpi.log")
    process.start()
    try:
        url = f"http://{_HOST}:{port}"
        until("devpi-server answers", lambda: _answers(process, url))
        yield url
    finally:
        process.end()


def _answers(process: Process, url: str) -> bool:
    assert process.runs, process.output
    try:
        return httpx2.get(f"{url}/+api", timeout=5).status_code == httpx2.codes.OK
    except httpx2.TransportError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
