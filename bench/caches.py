"""Runs caches in front of a made-up upstream: devpi-server's mirror, proxpi, nginx's proxy cache, and Countermark's."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.countermark import countermark
from bench.devpi import devpi
from bench.errors import NotMeasured
from bench.registry import Registry
from bench.running import HOST, Command, Running, free_port, running

_NGINX = """\
daemon off;
worker_processes 1;
{user}
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=pages:10m max_size=1g;
  server {{
    listen {host}:{port};
    location / {{
      proxy_pass http://{host}:{upstream};
      proxy_cache pages;
      proxy_cache_valid 200 10m;
      proxy_cache_lock on;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class MadeUp:
    """The upstream, running."""

    server: Running

    @property
    def url(self) -> str:
        """Address of its simple index."""
        return f"http://{HOST}:{self.server.port}/simple/"

    def count(self, path: str) -> int:
        """Return how often a path was asked for."""
        return int(json.loads(self._asked("/+counts")).get(path, 0))

    def answer_after(self, milliseconds: int) -> None:
        """Have every answer wait that long from now on."""
        self._asked(f"/+delay/{milliseconds}")

    def _asked(self, path: str) -> bytes:
        connection = http.client.HTTPConnection(HOST, self.server.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()


@contextmanager
def upstream(folder: Path, *, milliseconds: int, megabytes: int) -> Iterator[MadeUp]:
    """Run the upstream; every answer waits for the given milliseconds."""
    port = free_port()
    argv = (sys.executable, "-m", "bench.upstream", str(port), str(milliseconds), str(megabytes))
    with running(Command("upstream", argv, folder / "upstream.log", port, "/+counts")) as server:
        yield MadeUp(server)


@contextmanager
def our_mirror(folder: Path, source: MadeUp, *, bases: int = 1) -> Iterator[Registry]:
    """Run Countermark with a mirror of the upstream, `root/mirror`, and stages above it.

    Args:
        bases: indexes that `root/merged` is based on: stages without files, and the mirror as the last one.
    """
    with countermark(folder / "countermark", "--compat", "devpi-open") as server:
        ours = Registry("Countermark", server, "/root/mirror", "root", "")
        _make(ours, "mirror", {"type": "mirror", "mirror_url": source.url, "volatile": False})
        empty = [f"root/empty{number}" for number in range(bases - 1)]
        for name in empty:
            _make(ours, name.partition("/")[2], {"bases": []})
        _make(ours, "merged", {"bases": [*empty, "root/mirror"]})
        yield ours


def further_mirror(ours: Registry, source: MadeUp, name: str) -> str:
    """Make one more mirror of the upstream, which has nothing yet; returns the address of its simple index."""
    _make(ours, name, {"type": "mirror", "mirror_url": source.url, "volatile": False})
    return f"http://{HOST}:{ours.server.port}/root/{name}/+simple/"


@contextmanager
def devpi_mirror(programs: Path, folder: Path, source: MadeUp) -> Iterator[Registry]:
    """Run devpi-server with a mirror of the upstream."""
    with devpi(programs, folder) as stage:
        mirror = Registry(stage.name, stage.server, "/root/mirror", stage.user, stage.secret)
        _make(mirror, "mirror", {"type": "mirror", "mirror_url": source.url, "volatile": False})
        yield mirror


@contextmanager
def proxpi(programs: Path, folder: Path, source: MadeUp) -> Iterator[Registry]:
    """Run proxpi under gunicorn, with threads, as its own image does."""
    port = free_port()
    settings = {"PROXPI_INDEX_URL": source.url, "PROXPI_CACHE_DIR": str(folder / "proxpi")}
    options = ("--threads", "8", "--bind", f"{HOST}:{port}", "--no-control-socket")
    argv = ("env", *(f"{name}={value}" for name, value in settings.items()))
    command = (*argv, str(programs / "python"), "-m", "gunicorn", *options, "proxpi.server:app")
    with running(Command("proxpi", command, folder / "proxpi.log", port, "/health")) as server:
        yield Registry("proxpi", server, "", "", "", "index")


@contextmanager
def nginx_cache(program: str, folder: Path, source: MadeUp) -> Iterator[Registry]:
    """Run nginx with one worker as a cache of whatever it passes on."""
    home, port = folder / "nginx-cache", free_port()
    home.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    text = _NGINX.format(user=user, folder=home, host=HOST, port=port, upstream=source.server.port)
    configuration = home / "nginx.conf"
    configuration.write_text(text, encoding="utf-8")
    argv = (program, "-p", str(home), "-e", str(home / "error.log"), "-c", str(configuration))
    with running(Command("nginx", argv, folder / "nginx-cache.log", port, "/simple/")) as server:
        yield Registry("nginx", server, "", "", "", "simple")


def _make(registry: Registry, name: str, settings: dict[str, object]) -> None:
    """Make an index by devpi's API."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    answer = registry.request("PUT", f"/root/{name}", headers, json.dumps(settings).encode())
    if answer.status >= 400:
        raise NotMeasured(f"{registry.name} answers {answer.status} to the making of {name}: {answer.body[:300]!r}")


def uv_lock(url: str, folder: Path, requirement: str) -> float:
    """Return the seconds that uv takes to lock a project from an index, without a cache of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "uv.lock").unlink(missing_ok=True)
    text = f'[project]\nname = "locked"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["{requirement}"]\n'
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    options = ("--no-config", "--no-cache", "--quiet", "--python", sys.executable, "--default-index", url)
    argv = (str(Path(sys.executable).with_name("uv")), "lock", *options)
    begun = time.perf_counter()
    done = subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - begun
    if done.returncode != 0:
        raise NotMeasured(f"uv locks nothing from {url}: {done.stderr.strip()[-400:]}")
    return taken
