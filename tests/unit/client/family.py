"""Three indexes behind one server, one of them based on the others."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from typer.testing import Result

from tests.support.simulator import RepositorySimulator
from tests.unit.client.loopback import Loopback, reply

NEWER, GIZMO = "widget-1.11-py3-none-any.whl", "gizmo-2.0-py3-none-any.whl"
MINE = "widget-0.9-py3-none-any.whl"


class Family:
    """`alice/dev` based on `root/tools` and `root/stable`, all of one deployment, behind one server.

    `alice/dev` has nothing; `root/tools` has gizmo; `root/stable` (the fixture `sim`) has widget 1.10 and gizmo.
    """

    def __init__(self, run: Callable[..., Result], server: Loopback, stable: RepositorySimulator, dest: Path) -> None:
        self.run, self.server, self.dest = run, server, dest
        self.stable = stable
        self.tools = RepositorySimulator("root/tools", stable.deployment)
        self.dev = RepositorySimulator("alice/dev", stable.deployment)
        self.stable.add_file(GIZMO, b"the gizmo of stable\n")
        self.tools.add_file(GIZMO, b"the gizmo of tools\n")
        self.serve()

    def serve(self) -> None:
        """Publish and serve all."""
        for index in (self.stable, self.tools, self.dev):
            index.publish()
            self.server.serve_index(index)
        self.based_on("root/tools", "root/stable")

    def based_on(self, *bases: str) -> None:
        """Have the server say what `alice/dev` is based on."""
        self.server.describe("alice/dev", *bases)

    def serve_as(self, index: str, other: RepositorySimulator) -> None:
        """Serve the whole tree of another index in the place of one."""
        prefix = f"/{index}/+tuf/"
        self.server.paths = {path: data for path, data in self.server.paths.items() if not path.startswith(prefix)}
        mine = f"/{other.index}/+tuf/"
        for path, data in list(self.server.paths.items()):
            if path.startswith(mine):
                self.server.paths[prefix + path.removeprefix(mine)] = data

    def refuse(self, path: str, status: int) -> None:
        """Have the server answer a path with an error."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            reply(handler, status)

        self.server.paths[path] = answer

    def call(self, *arguments: str, index: str = "alice/dev") -> tuple[int, str, str]:
        """Run a command on an index; return exit code, output and errors."""
        done = self.run(*arguments, "--repository", f"{self.server.url}/{index}", "--trust-on-first-use")
        return done.exit_code, done.stdout, done.stderr

    def get(self, *names: str) -> tuple[int, str]:
        """Download and return the exit code and errors."""
        code, _, errors = self.call("download", *names, "--dest", str(self.dest))
        return code, errors

    def bytes_of(self, name: str) -> bytes:
        """Return what was placed."""
        return (self.dest / name).read_bytes()

    def nothing_placed(self) -> bool:
        """Return whether no file was placed."""
        return not self.dest.exists() or not any(self.dest.iterdir())
