"""Measures `uv pip install` of many small packages, without a cache."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from bench.countermark import countermark, registry_of
from bench.devpi import devpi
from bench.errors import NotMeasured
from bench.nginx import Static, nginx
from bench.pypiserver import pypiserver
from bench.registry import Media, Registry
from bench.report import SECONDS, Figure, Row
from bench.running import HOST
from bench.wheels import make_wheel

_PACKAGES = 100
"""How many are installed, of one file each."""

_ROUNDS = 3
"""Installations from each server that are measured; one more warms up."""

_OF_NGINX = 1.4
"""How many times the time that nginx takes is allowed."""

_UV = Path(sys.executable).with_name("uv")


def measure_install(programs: Path, nginx_program: str | None, folder: Path) -> Iterator[Row]:
    """Yield the rows about installing.

    Args:
        programs: the peers' folder of programs.
        nginx_program: where nginx is, None when it is not installed.
        folder: empty folder for the servers' data.
    """
    wheels = [make_wheel(f"bench-install-{number}", "1.0") for number in range(_PACKAGES)]
    names = [wheel.project for wheel in wheels]
    with ExitStack() as stack:
        data = folder / "countermark"
        ours = registry_of(stack.enter_context(countermark(data)), data)
        theirs = (stack.enter_context(devpi(programs, folder)), stack.enter_context(pypiserver(programs, folder)))
        for wheel in wheels:
            for registry in (ours, *theirs):
                registry.upload(wheel)
        places = {one.name: f"http://{HOST}:{one.server.port}{one.list_path}" for one in (ours, *theirs)}
        if nginx_program is not None:
            server = stack.enter_context(nginx(nginx_program, folder, _copied(ours, names)))
            places["nginx"] = f"http://{HOST}:{server.port}{ours.list_path}"
        times: dict[str, list[float]] = {name: [] for name in places}
        for number in range(1 + _ROUNDS):
            for name, url in places.items():
                taken = _install(url, names, folder / "target")
                if number:
                    times[name].append(taken)
    medians = {name: statistics.median(of) for name, of in times.items()}
    figure = Figure(f"uv pip install of {_PACKAGES} packages, no cache", medians.pop("Countermark"), SECONDS)
    for name in sorted(medians, key=["nginx", "devpi-server", "pypiserver"].index):
        yield figure.beside(name, medians[name], at_most=_OF_NGINX if name == "nginx" else None)


def _copied(registry: Registry, projects: list[str]) -> Mapping[str, Static]:
    """Return everything an installer asks for, as Countermark answers it: pages, core metadata and files."""
    copied = {}
    for project in projects:
        path = registry.page_path(project)
        page = registry.page(project, Media.JSON)
        copied[path] = Static(Media.JSON.value, page.body)
        for file in json.loads(page.body)["files"]:
            url = urlsplit(urljoin(f"http://{HOST}{path}", file["url"])).path
            for each in (url, f"{url}.metadata"):
                answer = registry.request("GET", each, {})
                if answer.status != 200:
                    raise NotMeasured(f"Countermark answers {answer.status} to {each}")
                copied[each] = Static("application/octet-stream", answer.body)
    return copied


def _install(url: str, names: list[str], target: Path) -> float:
    """Return the seconds that an installation into an empty folder takes."""
    shutil.rmtree(target, ignore_errors=True)
    options = ("--no-config", "--no-cache", "--quiet", "--target", str(target), "--python", sys.executable)
    argv = (str(_UV), "pip", "install", *options, "--default-index", url, *names)
    begun = time.perf_counter()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - begun
    installed = list(target.glob("*.dist-info")) if target.exists() else []
    if done.returncode != 0 or len(installed) != len(names):
        text = re.sub(r"\s+", " ", done.stderr)[-400:]
        raise NotMeasured(f"uv installed {len(installed)} of {len(names)} packages from {url}: {text}")
    return taken
