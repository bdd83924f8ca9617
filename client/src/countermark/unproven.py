"""Files without any proof, for the day when verification itself is what is broken.

The listing is read as installers read it, unsigned, and what it names is taken: whoever controls the registry, its
store or the line to it decides what these bytes are. Bounds in length and time hold as ever.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from packaging.utils import NormalizedName
from packaging.version import Version
from tuf.api.exceptions import DownloadError

from countermark.choosing import Interpreter
from countermark.core.digest import Length
from countermark.core.errors import NetworkFailure, NoSuchTarget, PointerUnreadable
from countermark.core.page import MAX_PAGE_BYTES, MalformedPage, PageFile, choose, parse_page
from countermark.core.pointer import MAX_FILE_LENGTH, Resource
from countermark.location import Location
from countermark.placing import fetch_resource, part_in
from countermark.transport import ByteSource

_JSON = "application/vnd.pypi.simple.v1%2Bjson"


def find_unproven(
    location: Location, project: NormalizedName, version: Version, interpreter: Interpreter, source: ByteSource
) -> tuple[PageFile, str]:
    """Return the file of a release that the unsigned listing shows for an interpreter, and its URL.

    Raises:
        NetworkFailure: the listing cannot be read.
        PointerUnreadable: it is malformed, or the file's address or length is.
        NoSuchTarget: it shows no such file.
    """
    url = _listing(location, project)
    try:
        data = source.download_bytes(url, MAX_PAGE_BYTES)
        page = parse_page(data)
    except DownloadError as error:
        raise NetworkFailure(str(error)) from error
    except MalformedPage as error:
        raise PointerUnreadable(f"{url}: {error}") from error
    files = [file for file in page.of_version(version) if file.distribution.project == project]
    chosen = choose(files, interpreter.tags, interpreter.version)
    if chosen is None:
        raise NoSuchTarget(f"{url} shows no file of {project} {version} for {interpreter}")
    name = chosen.distribution.file_name
    address = next(str(entry.get("url", "")) for entry in json.loads(data)["files"] if entry["filename"] == name)
    allowed = {urlsplit(url).scheme} | ({"http", "https"} if urlsplit(url).scheme != "file" else set())
    try:
        full = urljoin(url, address)
        usable = bool(address) and urlsplit(full).scheme in allowed and 1 <= (chosen.length or 0) <= MAX_FILE_LENGTH
    except ValueError:
        usable = False
    if not usable:
        raise PointerUnreadable(f"{url} states no usable address or length of {name}")
    return chosen, full


def place_unproven(chosen: PageFile, url: str, dest: Path, source: ByteSource) -> Path:
    """Download what the listing shows, and hold it to nothing but the listing.

    Raises:
        ClientError: it cannot be read or placed, or is not what the listing says.
    """
    resource = Resource(urlsplit(url).path, chosen.sha256, Length(chosen.length or 0))
    with part_in(dest) as part:
        fetch_resource(resource, url, source, part.file)
        return part.place(chosen.distribution.file_name)


def _listing(location: Location, project: NormalizedName) -> str:
    if location.is_tree:
        return f"{location.url}/simple/{project}/index.json"
    return f"{location.url}/+simple/{project}/?format={_JSON}"
