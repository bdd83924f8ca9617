"""The files, accounts' places and headers that requests to both servers are made of."""

from __future__ import annotations

import io
import zipfile

from tests.support.archives import Project, make_sdist, make_wheel
from tests.support.devpi_requests import file_path

DEV = "/alice/dev"
SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
PIP = {"user-agent": "pip/26.3", "accept": f"{SIMPLE_JSON}, text/html; q=0.1"}
BROWSER = {"accept": "text/html"}
ANYTHING = {"accept": "*/*"}


def files_of(version: str, project: str = "hello") -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    """Return the wheel and the source archive of a release, each with its name."""
    about = Project(project, version, requires_python=">=3.9", summary="Says hello.")
    wheel = make_wheel(project, version, project=about)
    sdist = make_sdist(project, version, project=about)
    return (f"{project}-{version}-py3-none-any.whl", wheel), (f"{project}-{version}.tar.gz", sdist)


def docs(text: str) -> bytes:
    """Return an archive of documentation, the same whenever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("index.html", (2026, 1, 1, 0, 0, 0)), f"<html><body>{text}</body></html>")
        archive.writestr(zipfile.ZipInfo("part/more.txt", (2026, 1, 1, 0, 0, 0)), text)
    return buffer.getvalue()


WHEEL, SDIST = files_of("1.0")
OTHER_WHEEL, OTHER_SDIST = files_of("1.1")
LATER, _ = files_of("2.0")
SHARED, SHARED_SDIST = files_of("1.0", "shared")
BASE_ONLY, _ = files_of("3.0", "baseonly")
CHANGED = (SDIST[0], make_sdist("hello", "1.0", project=Project("hello", "1.0", summary="Says it otherwise.")))
DOCS = ("hello-1.0.doc.zip", docs("The first text."))
OTHER_DOCS = (DOCS[0], docs("Another text."))
TOX = {"testenvs": {"py": {"python": {"version": "3.11"}, "setup": [], "test": []}}, "host": "h", "platform": "linux"}
FILE = file_path("alice/dev", WHEEL)
