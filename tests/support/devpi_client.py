"""The devpi client, unmodified, as its user calls it; and a small project to build, test and upload with it."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.archives import make_sdist, make_wheel, sdist_name, wheel_name
from tests.support.processes import Deployment
from tests.support.tools import Tools

ROOTS_PASSWORD = "a password of root"
"""That `client_of_root` gives to root."""


@dataclass(frozen=True, slots=True)
class DevpiClient:
    """The command `devpi` with a home of its own, for one server.

    Attributes:
        url: of the server, without a trailing slash.
    """

    tools: Tools
    url: str

    def __call__(self, *arguments: str | Path, folder: Path | None = None, answers: str = "") -> str:
        """Run a command, which has to succeed, and return what it printed; arguments as of `Tools.run`."""
        return self.tools.done("devpi", *arguments, folder=folder, answers=answers)

    def refused(self, *arguments: str | Path, folder: Path | None = None) -> str:
        """Run a command, which has to fail, and return what it printed, on one line."""
        return self.tools.refused("devpi", *arguments, folder=folder)

    def login(self, user: str, password: str) -> str:
        """Use the server and log in."""
        self("use", self.url)
        return self("login", user, f"--password={password}")


def client_of_root(deployment: Deployment, tools: Tools) -> DevpiClient:
    """Return a client with root logged in, whose password is set by command; that ends root's other logins."""
    file = tools.home / "password"
    file.write_text(ROOTS_PASSWORD)
    done = deployment.command("user", "passwd", "root", "--password-file", str(file))
    assert done.returncode == 0, done.stderr
    devpi = DevpiClient(tools, deployment.api)
    devpi.login("root", ROOTS_PASSWORD)
    return devpi


_BACKEND = """
import base64, hashlib, io, tarfile, tomllib, zipfile
from pathlib import Path

PROJECT = tomllib.loads(Path("pyproject.toml").read_text())["project"]
NAME, VERSION = PROJECT["name"], PROJECT["version"]
MODULE = NAME.replace("-", "_")
STEM = f"{MODULE}-{VERSION}"
ABOUT = ["Metadata-Version: 2.1", f"Name: {NAME}", f"Version: {VERSION}"]
ABOUT += ["Summary: Says hello.", "Requires-Python: >=3.9"]
WHEEL = ["Wheel-Version: 1.0", "Generator: backend", "Root-Is-Purelib: true", "Tag: py3-none-any"]


def lines(texts):
    return "".join(f"{text}\\n" for text in texts).encode()


def record(path, data):
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"{path},sha256={digest},{len(data)}"


def build_sdist(sdist_directory, config_settings=None):
    with tarfile.open(Path(sdist_directory, f"{STEM}.tar.gz"), "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for source in (f"{MODULE}.py", "backend.py", "pyproject.toml", "tox.ini"):
            archive.add(source, f"{STEM}/{source}")
        info = tarfile.TarInfo(f"{STEM}/PKG-INFO")
        info.size = len(lines(ABOUT))
        archive.addfile(info, io.BytesIO(lines(ABOUT)))
    return f"{STEM}.tar.gz"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    about, file = f"{STEM}.dist-info", f"{STEM}-py3-none-any.whl"
    members = {f"{MODULE}.py": Path(f"{MODULE}.py").read_bytes()}
    members |= {f"{about}/METADATA": lines(ABOUT), f"{about}/WHEEL": lines(WHEEL)}
    records = [record(path, data) for path, data in members.items()]
    members[f"{about}/RECORD"] = lines([*records, f"{about}/RECORD,,"])
    with zipfile.ZipFile(Path(wheel_directory, file), "w") as archive:
        for path, data in members.items():
            archive.writestr(path, data)
    return file
"""

_PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "NAME"
version = "VERSION"
requires-python = ">=3.9"
"""

_TOX = """
[tox]
env_list = py

[testenv]
commands = python -c "import MODULE; assert MODULE.hello() == 'TEXT'"
"""


def make_project(folder: Path, name: str, version: str, *, text: str = "hello") -> Path:
    """Write the sources of a small project, which builds without anything from a registry, and return its folder.

    Args:
        folder: where; what is there is written over.
        name: of the project.
        version: of the project.
        text: in its one module; another one gives other files of the same release.
    """
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    (folder / "backend.py").write_text(_BACKEND)
    (folder / "pyproject.toml").write_text(_PYPROJECT.replace("NAME", name).replace("VERSION", version))
    (folder / "tox.ini").write_text(_TOX.replace("MODULE", module).replace("TEXT", text))
    (folder / f"{module}.py").write_text(f'def hello():\n    return "{text}"\n')
    return folder


def make_dist(folder: Path, *versions: str, name: str) -> Path:
    """Return a folder with wheels and source archives of a project."""
    folder.mkdir()
    for version in versions:
        (folder / wheel_name(name, version)).write_bytes(make_wheel(name, version))
        (folder / sdist_name(name, version)).write_bytes(make_sdist(name, version))
    return folder


def make_docs(folder: Path, name: str, text: str) -> Path:
    """Write a zip with a page of documentation, and return its path."""
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("index.html", f"<html><body>{text}</body></html>")
    return folder / name
