"""Admission `devpi`: which names are taken from a form, and what of its metadata is kept."""

import pytest

from countermark.core.names import FileName
from services.upload import devpi_rules
from services.upload.rules import Fields
from shared.formats.interface import InvalidFile


def form(name: str = "Hello.Pkg", version: str = "1.0", **more: str) -> Fields:
    """Return the fields of a form."""
    return {"name": [name], "version": [version], **{key: [value] for key, value in more.items()}}


@pytest.mark.parametrize(
    ("file_name", "version", "kind"),
    [
        ("hello_pkg-1.0-py3-none-any.whl", "1.0", "bdist_wheel"),
        ("Hello.Pkg-1.0.tar.gz", "1.0", "sdist"),
        ("hello-pkg-1.0.zip", "1.0", "sdist"),
        ("hello-pkg-1.0.tgz", "1.0", "sdist"),
        ("hello-pkg-1.0.tar.bz2", "1.0", "sdist"),
        ("Hello.Pkg-1.0-py3.11.egg", "1.0", "bdist_egg"),
        ("hello_pkg-1.0.win32.exe", "1.0", "bdist_wininst"),
        ("hello_pkg-1.0.msi", "1.0", "bdist_msi"),
        ("hello_pkg-1.0-1.noarch.rpm", "1.0", "bdist_rpm"),
        ("hello-pkg_1.0_all.deb", "1.0", "bdist_deb"),
        ("hello-pkg-1.0.dmg", "1.0", "bdist_dmg"),
        ("hello_pkg-1.0_local.1.tar.gz", "1.0+local.1", "sdist"),
        ("hello_pkg-1.0+local.1.tar.gz", "1.0+local.1", "sdist"),
        ("hello_pkg-1_2.0.tar.gz", "1!2.0", "sdist"),
        ("hello_pkg-1.0-2.tar.gz", "1.0-2", "sdist"),
    ],
)
def test_names_that_devpi_takes(file_name: str, version: str, kind: str) -> None:
    """All its extensions, names in any spelling, versions as they are written or escaped."""
    found = devpi_rules.coordinates_in(form(version=version), FileName(file_name))
    assert (found.project, found.display_name, found.package_type) == ("hello-pkg", "Hello.Pkg", kind)
    assert found.version == ("1.0.post2" if version == "1.0-2" else version)


def test_what_bdist_dumb_made_says_so() -> None:
    """An archive is a source archive unless its form says that it is none; the devpi client and setuptools do."""
    found = devpi_rules.coordinates_in(form(filetype="bdist_dumb"), FileName("hello-pkg-1.0.linux-x86_64.tar.gz"))
    assert found.package_type == "bdist_dumb"
    lying = devpi_rules.coordinates_in(form(filetype="bdist_wheel"), FileName("hello-pkg-1.0.tar.gz"))
    assert lying.package_type == "sdist"


@pytest.mark.parametrize(
    ("fields", "file_name", "words"),
    [
        (form(), "hello-pkg-1.1.tar.gz", "filename 'hello-pkg-1.1.tar.gz' does not contain version '1.0'"),
        (form(), "hello-pkg-1.0.tar.xz", "'hello-pkg-1.0.tar.xz' is not a valid archive name"),
        (form(), "hello-pkg-1.0", "'hello-pkg-1.0' is not a valid archive name"),
        (form(), "gadget-1.0.tar.gz", "filename 'gadget-1.0.tar.gz' does not match project name 'Hello.Pkg'"),
        (form("hello pkg"), "hello-pkg-1.0.zip", "invalid metadata: the project name 'hello pkg' cannot be used"),
        (form("-hello"), "-hello-1.0.zip", "invalid metadata: the project name '-hello' cannot be used"),
        (form(version='1.0"'), "hello-pkg-1.0.zip", "invalid metadata: the version '1.0\"' holds one of"),
        (form(version="final"), "hello-pkg-final.zip", "invalid metadata: 'final' is no version (PEP 440)"),
        (form(version="9" * 5000), "hello-pkg-1.zip", "does not contain version"),
        ({"version": ["1.0"]}, "hello-pkg-1.0.zip", "invalid metadata: name missing in the form."),
        ({}, "hello-pkg-1.0.zip", "invalid metadata: name and version missing in the form."),
        (form(), "hello_pkg-1.0.whl", "invalid metadata: 'hello_pkg-1.0.whl' is not the name of a wheel."),
        (form("hello"), "hello_pkg-1.0-py3-none-any.whl", "is of hello-pkg 1.0, the form of hello 1.0."),
        (form(version="1"), "hello_pkg-1.5-py3-none-any.whl", "is of hello-pkg 1.5, the form of hello-pkg 1."),
    ],
)
def test_names_that_are_refused(fields: Fields, file_name: str, words: str) -> None:
    """In devpi's words where it has some, and never with a fault of ours."""
    with pytest.raises(InvalidFile) as raised:
        devpi_rules.coordinates_in(fields, FileName(file_name))
    assert any(words in issue for issue in raised.value.issues), raised.value.issues


def test_metadata_have_the_keys_of_the_files_own() -> None:
    """Whatever the uploader calls a field; what it leaves out is not there, what it sends empty is."""
    fields: Fields = {
        **form(summary="", requires_python=">=3.9", unknown="x"),
        "classifiers": ["A", "B"],
        "platforms": ["linux"],
        "provides_extras": ["more"],
        "license_files": ["LICENSE"],
        "requires_dist": ["a", "", "b"],
        "keywords": ["one, two"],
        "project_urls": ["Home, https://example.org/a,b", "Docs,https://example.org"],
    }
    assert devpi_rules.metadata_in(fields) == {
        "name": "Hello.Pkg",
        "version": "1.0",
        "summary": "",
        "requires_python": ">=3.9",
        "classifiers": ["A", "B"],
        "platforms": ["linux"],
        "provides_extra": ["more"],
        "license_files": ["LICENSE"],
        "requires_dist": ["a", "b"],
        "keywords": ["one", "two"],
        "project_urls": {"Home": "https://example.org/a,b", "Docs": "https://example.org"},
    }


def test_what_no_installer_can_compare_is_refused() -> None:
    """A page would fail as a whole; specifiers that installers pass over are kept as they are."""
    assert devpi_rules.requires_python_in(form()) is None
    assert devpi_rules.requires_python_in(form(requires_python=" >=3.6.* ")) == ">=3.6.*"
    for hostile in (">=" + "9" * 5000, ">=3," * 4000):
        with pytest.raises(InvalidFile):
            devpi_rules.requires_python_in(form(requires_python=hostile))
