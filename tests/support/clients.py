"""The real clients: pip, uv and twine from this environment, and the verifying client, each as its user calls it."""

from __future__ import annotations

import functools
import http.server
import subprocess
import threading
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import program, run


@dataclass(frozen=True, slots=True)
class Environment:
    """An empty virtual environment to install into."""

    folder: Path

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "bin" / "python")

    def pip_install(self, index_url: str, *requirements: str) -> subprocess.CompletedProcess[str]:
        """Install with pip from one index only, without a cache."""
        return run(
            self.python,
            "-m",
            "pip",
            "--isolated",
            "--disable-pip-version-check",
            "install",
            "--no-cache-dir",
            "--index-url",
            index_url,
            *requirements,
        )

    def uv_install(self, index_url: str, *requirements: str) -> subprocess.CompletedProcess[str]:
        """Install with uv from one index only, without a cache."""
        options = ("--no-config", "--no-cache", "--python", self.python, "--default-index", index_url)
        return run(program("uv"), "pip", "install", *options, *requirements)

    def version_of(self, project: str) -> str | None:
        """Return the installed version of a project, None when it is not installed."""
        code = f"import importlib.metadata as m; print(m.version({project!r}))"
        done = run(self.python, "-c", code)
        return done.stdout.strip() if done.returncode == 0 else None


def make_environment(folder: Path) -> Environment:
    """Make a virtual environment with pip."""
    venv.create(folder, with_pip=True)
    return Environment(folder)


def twine(url: str, token: str, *files: Path) -> subprocess.CompletedProcess[str]:
    """Upload with twine."""
    options = ("--non-interactive", "--disable-progress-bar", "--repository-url", url, "-u", "__token__", "-p", token)
    return run(program("twine"), "upload", *options, *map(str, files))


def uv_publish(url: str, token: str, *files: Path, check_url: str | None = None) -> subprocess.CompletedProcess[str]:
    """Upload with uv."""
    checked = () if check_url is None else ("--check-url", check_url)
    options = ("--no-config", "--no-cache", "--trusted-publishing", "never", "--publish-url", url, "--token", token)
    return run(program("uv"), "publish", *options, *checked, *map(str, files))


@dataclass(frozen=True, slots=True)
class VerifyingClient:
    """`countermark` with a home of its own."""

    home: Path

    def __call__(self, *arguments: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        environment = {"COUNTERMARK_HOME": str(self.home)} | ({} if token is None else {"COUNTERMARK_TOKEN": token})
        return run(program("countermark"), *arguments, environment=environment)


@contextmanager
def static_server(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback with nothing but the standard library's file server; gives its URL without a slash."""
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Write nothing."""
