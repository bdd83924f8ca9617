"""A company's index on a mirror of an upstream that is a process of its own, as its operator sets it up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.archives import Project, make_wheel, wheel_name
from tests.support.devpi_client import DevpiClient, client_of_root
from tests.support.installers import Source
from tests.support.processes import Deployment
from tests.support.tools import Tools
from tests.support.upstream_process import UpstreamProcess, upstream_process

ALLOWED = "mirrors.networks=127.0.0.0/8"
"""The setting without which nobody on this machine is asked."""

ASKING_HERE = ("--set", ALLOWED)
"""The same as options of a start or of a command."""


@dataclass(frozen=True, slots=True)
class Company:
    """An index of a deployment, on a mirror of `upstream`; `name` and `mirror` are `owner/index`."""

    deployment: Deployment
    upstream: UpstreamProcess
    devpi: DevpiClient
    name: str
    mirror: str

    @property
    def source(self) -> Source:
        """The one URL."""
        return Source(f"{self.deployment.api}/{self.name}/+simple/")

    def release(self, name: str, version: str, *needs: str, payload: int = 0, **fields: Any) -> bytes:
        """Publish a wheel upstream; returns it, the same each time."""
        project = Project(name, version, requires_dist=needs)
        content = make_wheel(name, version, project=project, payload_bytes=payload)
        self.upstream.add(name, wheel_name(name, version), content, **fields)
        return content


@contextmanager
def open_company(deployment: Deployment, programs: Path, home: Path, name: str) -> Iterator[Company]:
    """Make `root/NAME` on the mirror `root/NAME-above`: two commands of the devpi client.

    Args:
        programs: folder of the programs of the locked tools.
        home: an empty folder.
    """
    index, mirror = f"root/{name}", f"root/{name}-above"
    with upstream_process(home) as upstream:
        devpi = client_of_root(deployment, Tools(programs, home))
        asking = (f"mirror_url={upstream.url}/simple/", "mirror_cache_expiry=0")
        devpi("index", "-c", mirror, "type=mirror", "volatile=False", *asking)
        devpi("index", "-c", index, f"bases={mirror}", "volatile=False")
        yield Company(deployment, upstream, devpi, index, mirror)
