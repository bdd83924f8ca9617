"""Whatever a form says under admission `devpi`, what is admitted can be signed and listed, and the rest is refused."""

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, IndexName, InvalidName, parse_file_name, pointer_target
from countermark.core.pointer import parse_pointer
from services.upload import devpi_rules
from services.upload.rules import Fields
from shared.formats.interface import InvalidFile, PageFile, ProjectPage
from shared.formats.registry import FORMATS

_EXTENSIONS = ("exe", "tar.gz", "bz2", "rpm", "deb", "zip", "tgz", "egg", "dmg", "msi")
_NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
_VERSION = r"([0-9]!)?[0-9]{1,3}(\.[0-9]{1,3}){0,3}(a[0-9]|rc[0-9])?(\.post[0-9])?(\.dev[0-9])?"
_VERSIONS = st.from_regex(_VERSION, fullmatch=True)
_PIECES = st.sampled_from([*".-_!+<% ", "a", "1", "0", "any", "none", "py3", "whl", "tar", "gz"])
_ANYTHING = st.text(max_size=40) | st.lists(_PIECES, max_size=20).map("".join)


@given(_NAMES, _VERSIONS, st.sampled_from(_EXTENSIONS), st.sampled_from(["", ".win32", "-py3.11", "_all"]))
def test_every_name_of_devpis_form_is_taken(name: str, version: str, extension: str, tail: str) -> None:
    """Name, version as written, anything, and one of the extensions: "normalised file name starts with the normalised
    name", "version is a substring of the file name"."""
    file_name = parse_file_name(f"{name}-{version}{tail}.{extension}")
    found = devpi_rules.coordinates_in({"name": [name], "version": [version]}, file_name)
    assert (found.display_name, found.file_name) == (name, file_name)


@given(_NAMES, _VERSIONS, st.from_regex(r"[^A-Za-z0-9.]", fullmatch=True))
def test_other_separators_mean_the_same_project(name: str, version: str, separator: str) -> None:
    """Spellings of a name are one project, also in the name of the file."""
    if separator not in "-_":
        separator = "_"
    spelled = name.replace(".", separator).replace("-", separator).replace("_", separator)
    found = devpi_rules.coordinates_in({"name": [name], "version": [version]}, FileName(f"{spelled}-{version}.zip"))
    assert found.project == devpi_rules.named_in({"name": [spelled], "version": [version]}).project


@given(st.dictionaries(st.sampled_from(["name", "version", "filetype"]), st.lists(_ANYTHING, max_size=2)), _ANYTHING)
@example({"name": ["none"], "version": ["0"]}, "none-0-any.whl")
@example({"name": ["a"], "version": ["1" * 5000]}, "a-1.zip")
@example({"name": ["a"], "version": ["1"]}, "a-1-py3-none-any.WHL")
def test_what_is_admitted_can_be_signed(fields: Fields, name: str) -> None:
    """Whatever is sent is refused in words, or renders as a page and a pointer that a client can read."""
    try:
        file_name = parse_file_name(name)
    except InvalidName:
        return
    try:
        found = devpi_rules.coordinates_in(fields, file_name)
    except InvalidFile:
        return
    sha256 = Sha256("a" * 64)
    file = PageFile(
        file_name, found.version, found.package_type, sha256, Length(1), None, datetime.now(UTC), None, None
    )
    page = ProjectPage(IndexName("root", "dev"), found.project, 1, "active", None, [file])
    targets = FORMATS["python"].render(page, [file_name])
    assert parse_pointer(targets[pointer_target(found.project, file_name)]).version == found.version


_FIELDS = st.sampled_from(sorted({*devpi_rules._TEXTS, *devpi_rules._LISTS}))


@given(st.dictionaries(_FIELDS, st.lists(st.text(max_size=20), min_size=1, max_size=3)))
def test_metadata_lose_nothing_that_a_form_says(fields: Fields) -> None:
    """Texts keep their first value, lists all that are not empty."""
    found = devpi_rules.metadata_in(fields)
    assert len(found) == len(fields)
    for name, values in fields.items():
        key = devpi_rules._LISTS.get(name)
        assert found[key or name] == ([value for value in values if value] if key else values[0])
