"""Runs pypiserver on a folder of files, from the environment that `requirements-bench.lock` pins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.registry import Registry
from bench.running import HOST, Command, free_port, running


@contextmanager
def pypiserver(programs: Path, folder: Path) -> Iterator[Registry]:
    """Run pypiserver as it comes on `folder`/pypiserver, which may hold files; anybody may upload.

    Raises:
        NotMeasured: it does not start.
    """
    data, port = folder / "pypiserver", free_port()
    data.mkdir(exist_ok=True)
    options = ("-i", HOST, "-p", str(port), "-P", ".", "-a", ".", "--disable-fallback")
    argv = (str(programs / "pypi-server"), "run", *options, str(data))
    with running(Command("pypiserver", argv, folder / "pypiserver.log", port, "/health")) as server:
        yield Registry("pypiserver", server, "", "anybody", "", "simple")
