"""How a release is told to the upload URL of another server: form fields and multipart bodies. Pure.

Source: contract devpi sections 4.4 and 11; contract python-index section 2.1; RFC 7578.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shared.catalogue.promotion_rows import Carried, SourceRelease

Fields = list[tuple[str, str]]
"""Fields of a form in order; a list has one for each of its values."""

_FORM_NAMES: Mapping[str, Sequence[str]] = {
    "classifiers": ["classifiers"],
    "dynamic": ["dynamic"],
    "license_files": ["license_file"],
    "obsoletes": ["obsoletes"],
    "obsoletes_dist": ["obsoletes_dist"],
    "platforms": ["platform"],
    "provides": ["provides"],
    "provides_dist": ["provides_dist"],
    # One is what upload tools send, the other what devpi knows.
    "provides_extra": ["provides_extra", "provides_extras"],
    "requires": ["requires"],
    "requires_dist": ["requires_dist"],
    "requires_external": ["requires_external"],
    "supported_platforms": ["supported_platform"],
}
"""Lists of the metadata -> their fields."""

_PYTHON = re.compile(r"[.-](?:py|cp|pp|ip|jy)(\d[\d.]*)")
_SOURCES = (".tar.gz", ".tgz", ".tar.bz2", ".zip")


def metadata_fields(release: SourceRelease) -> Fields:
    """Return the metadata of a release as form fields.

    Names that no list or text of ours has are sent as they are: under admission `devpi` they were fields once.
    """
    told = dict(release.fields)
    urls, keywords = told.pop("project_urls", None), told.pop("keywords", None)
    fixed = {"name": told.pop("name", None) or release.display_name, "version": release.version}
    fixed["metadata_version"] = str(told.pop("metadata_version", None) or "2.1")
    told.pop("version", None)
    fields: Fields = list(fixed.items())
    for name, value in told.items():
        for field in _FORM_NAMES.get(name, [name]):
            fields += [(field, text) for text in _texts(value)]
    fields += [("keywords", ",".join(_texts(keywords)))] if keywords else []
    if isinstance(urls, Mapping):
        fields += [("project_urls", f"{label}, {url}") for label, url in urls.items()]
    else:
        fields += [("project_urls", text) for text in _texts(urls)]
    return fields


def file_fields(file: Carried) -> Fields:
    """Return what a form says of a file beside its release's metadata."""
    return [
        ("protocol_version", "1"),
        ("filetype", file.package_type),
        ("pyversion", python_version(file)),
        ("sha256_digest", file.sha256),
        ("blake2_256_digest", file.blake2b_256),
    ]


def python_version(file: Carried) -> str:
    """Return the form's word for the Python that a file is for."""
    name = file.file_name
    if name.endswith(".whl"):
        return name.removesuffix(".whl").split("-")[-3]
    if name.endswith(_SOURCES):
        return "source"
    found = _PYTHON.search(name)
    return "any" if found is None else found[1].rstrip(".")


def form_head(fields: Iterable[tuple[str, str]], boundary: str, file_name: str | None = None) -> bytes:
    """Return a multipart body up to the bytes of its file, or all but its end when there is no file.

    Args:
        boundary: random, so that no value holds it.
    """
    line = f"--{boundary}\r\n"
    parts = [
        f'{line}Content-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n' for name, value in fields
    ]
    if file_name is not None:
        disposition = f'Content-Disposition: form-data; name="content"; filename="{_quoted(file_name)}"'
        parts.append(f"{line}{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n")
    return "".join(parts).encode("utf-8", "replace")


def form_end(boundary: str, *, after_file: bool) -> bytes:
    """Return the end of a multipart body."""
    before = "\r\n" if after_file else ""
    return f"{before}--{boundary}--\r\n".encode()


def _texts(value: Any) -> list[str]:
    """Return the values of a field; what is empty is not sent."""
    values = value if isinstance(value, list | tuple) else [value]
    return [str(one) for one in values if isinstance(one, str | int | float) and str(one)]


def _quoted(text: str) -> str:
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
