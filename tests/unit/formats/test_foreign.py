"""Files of other registries: where they belong, and what can be read of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from shared.formats.interface import InvalidFile
from shared.formats.python.foreign import (
    comparable_text,
    coordinates_of,
    fields_of_form,
    guessed_coordinates,
    read_metadata,
)
from tests.support.archives import make_sdist, make_wheel


@pytest.mark.parametrize(
    ("project", "version", "name", "kind"),
    [
        ("Hello.Pkg", "1.1", "Hello.Pkg-1.1.tar.gz", "sdist"),
        ("hello", "1.0", "hello-1.0.zip", "sdist"),
        ("hello", "1.0", "hello-1.0-py3.9.egg", "bdist_egg"),
        ("hello", "1.0", "hello-1.0.win32.exe", "bdist_wininst"),
        ("hello", "1.0+local.1", "hello-1.0+local.1-py3-none-any.whl", "bdist_wheel"),
    ],
)
def test_other_registries_word_is_taken(project: str, version: str, name: str, kind: str) -> None:
    """Spelling, kinds and local versions that uploads refuse have a place when another registry kept them."""
    found = coordinates_of(project, version, name)
    assert (found.project, found.version, found.package_type) == (canonicalize_name(project), version, kind)
    assert found.display_name == project


@pytest.mark.parametrize(
    ("project", "version", "name", "word"),
    [
        ("hello", "2004d-foo", "hello-2004d-foo.tar.gz", "is no version"),
        ("hel lo", "1.0", "hello-1.0.tar.gz", "project name"),
        ("hello", "1.0", "he llo-1.0.tar.gz", "file name cannot be used"),
        ("hello", "1.0", "hello-1.0.txt", "Only files that end with"),
        ("hello", "1.0", "hello.whl", "not a wheel's"),
        ("hello", "1.0", "other-1.0-py3-none-any.whl", "is of other 1.0"),
    ],
)
def test_what_no_page_could_list_is_refused_with_the_reason(project: str, version: str, name: str, word: str) -> None:
    """Names that would break a page, a key or an installer are no names here either."""
    with pytest.raises(InvalidFile) as caught:
        coordinates_of(project, version, name)
    assert word in " ".join(caught.value.issues)


def test_a_name_alone_tells_project_and_version() -> None:
    """The last dash that a version follows divides them, unless the project is known."""
    assert guessed_coordinates("foo-bar-1.0.zip").project == "foo-bar"
    assert guessed_coordinates("Foo.Bar-1.0.tar.gz").project == "foo-bar"
    assert guessed_coordinates("foo-2-1.tar.gz").version == "1"
    assert guessed_coordinates("foo-2-1.tar.gz", canonicalize_name("foo")).version == "2.post1"
    for name in ("foo.tar.gz", "foo-1.0.doc.zip", "foo-1.0.txt"):
        with pytest.raises(InvalidFile):
            guessed_coordinates(name)
    with pytest.raises(InvalidFile):
        guessed_coordinates("foo-1.0.tar.gz", canonicalize_name("bar"))


def test_a_wheel_is_read_without_being_judged(tmp_path: Path) -> None:
    """Metadata are served as they are; nonsense has none, and metadata of another release count as none."""
    path = tmp_path / "file"
    path.write_bytes(make_wheel("hello", "1.0", requires_python=">=3.9"))
    found = read_metadata(path, coordinates_of("hello", "1.0", "hello-1.0-py3-none-any.whl"))
    assert found is not None
    assert (found.requires_python, found.serves_core_metadata) == (">=3.9", True)
    assert read_metadata(path, coordinates_of("hello", "2.0", "hello-2.0-py3-none-any.whl")) is None
    path.write_bytes(b"nonsense")
    assert read_metadata(path, coordinates_of("hello", "1.0", "hello-1.0-py3-none-any.whl")) is None
    path.write_bytes(make_sdist("hello", "1.0"))
    archive = read_metadata(path, coordinates_of("hello", "1.0", "hello-1.0.tar.gz"))
    assert archive is not None
    assert not archive.serves_core_metadata


def test_a_requirement_that_breaks_installers_is_dropped(tmp_path: Path) -> None:
    """pip compares requires-python for each file of a page and fails on the whole page when it cannot."""
    assert comparable_text(None)
    assert comparable_text(">=3.9,<4")
    assert not comparable_text("3.9+")
    assert not comparable_text(">=" + "1" * 9000)
    path = tmp_path / "file"
    path.write_bytes(make_wheel("hello", "1.0", requires_python="3.9+"))
    found = read_metadata(path, coordinates_of("hello", "1.0", "hello-1.0-py3-none-any.whl"))
    assert found is not None
    assert found.requires_python is None


def test_a_version_record_becomes_the_metadata_of_a_release() -> None:
    """devpi's names become those of core metadata; what is empty, unknown or hostile is left out."""
    said = {
        "name": "Hello",
        "summary": "UNKNOWN",
        "license": "",
        "keywords": "a, b",
        "platform": ["any", ""],
        "provides_extras": ["x"],
        "project_urls": ["Home, https://example.org"],
        "classifiers": [],
        "author": "nul\0",
        "+links": ["x"],
        "plugin": "x",
    }
    assert fields_of_form(said) == {
        "name": "Hello",
        "keywords": ["a", "b"],
        "platforms": ["any"],
        "provides_extra": ["x"],
        "project_urls": {"Home": "https://example.org"},
    }
