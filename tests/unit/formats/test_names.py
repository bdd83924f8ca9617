"""File names of wheels and source archives."""

from __future__ import annotations

import pytest

from countermark.core.names import InvalidName, parse_project_name
from shared.formats.interface import InvalidFile
from shared.formats.python.names import file_stem, is_universal_wheel, parse_name


@pytest.mark.parametrize(
    ("file_name", "project", "version", "package_type", "display_name"),
    [
        ("widget-1.10-py3-none-any.whl", "widget", "1.10", "bdist_wheel", "widget"),
        ("foo_bar-1.0rc1-2-cp311-cp311-linux_x86_64.whl", "foo-bar", "1.0rc1", "bdist_wheel", "foo_bar"),
        ("widget-1!2.0+cu121-py2.py3-none-any.whl", "widget", "1!2.0+cu121", "bdist_wheel", "widget"),
        ("widget-1.0.0a-py3-none-any.whl", "widget", "1.0.0a0", "bdist_wheel", "widget"),
        ("foo_bar-1.0.post1.tar.gz", "foo-bar", "1.0.post1", "sdist", "foo_bar"),
        ("x-1!2.0+local.1.tar.gz", "x", "1!2.0+local.1", "sdist", "x"),
    ],
)
def test_names_are_read(file_name: str, project: str, version: str, package_type: str, display_name: str) -> None:
    """Names that build tools write today give project, normalised version and kind."""
    coordinates = parse_name(file_name)
    assert (coordinates.format, coordinates.project, coordinates.version) == ("python", project, version)
    assert (coordinates.package_type, coordinates.display_name) == (package_type, display_name)
    assert coordinates.file_name == file_name


@pytest.mark.parametrize(
    ("file_name", "words"),
    [
        ("Foo.Bar-1.0.tar.gz", "foo_bar-1.0.tar.gz"),
        ("foo-bar-1.0.tar.gz", "foo_bar-1.0.tar.gz"),
        ("foo-1.0-RC1.tar.gz", "'RC1' is no valid version"),
        ("foo-01.0.tar.gz", "foo-1.0.tar.gz"),
        ("Foo_Bar-1.0-py3-none-any.whl", "foo_bar-1.0-py3-none-any.whl"),
        ("foo.bar-1.0-py3-none-any.whl", "foo_bar-1.0-py3-none-any.whl"),
    ],
)
def test_a_wrong_spelling_is_refused_with_the_right_one(file_name: str, words: str) -> None:
    """A name that is not normalised is refused, and the message says what it must be."""
    with pytest.raises(InvalidFile) as caught:
        parse_name(file_name)
    assert words in caught.value.issues[0]


@pytest.mark.parametrize(
    ("file_name", "words"),
    [
        ("foo-1.0.zip", "Only wheels"),
        ("foo-1.0.tar.bz2", "Only wheels"),
        ("foo-1.0-py3.11.egg", "Only wheels"),
        ("foo-1.0.whl", "wrong number of parts"),
        ("foo-1.0-py3-none-any.WHL", "Only wheels"),
        ("foo-one-py3-none-any.whl", "invalid version"),
        ("foo-1.0-x1-py3-none-any.whl", "build number"),
        ("_-1.0-py3-none-any.whl", "letters, digits"),
        ("a_-1.0-py3-none-any.whl", "project name"),
        ("foo.tar.gz", "name-version.tar.gz"),
        ("foo-.tar.gz", "no valid version"),
        ("a_-1.0.tar.gz", "project name"),
        ("../foo-1.0.tar.gz", "path"),
        ("..\\foo-1.0.tar.gz", "path"),
        ("foo-1.0\n.tar.gz", "letters, digits"),
        ("f\u00f6\u00f6-1.0.tar.gz", "letters, digits"),
        ("a" * 170 + "-1.0.tar.gz", "longer than"),
        ("", "letters, digits"),
    ],
)
def test_other_names_are_refused(file_name: str, words: str) -> None:
    """Whatever is no wheel or source archive is refused with its reason, in ASCII."""
    with pytest.raises(InvalidFile) as caught:
        parse_name(file_name)
    assert words in caught.value.issues[0]
    assert str(caught.value).isascii()


@pytest.mark.parametrize("letter", ["\u212a", "\u017f", "\u0130", "\u0131"])
def test_letters_that_only_fold_into_ascii_name_no_project(letter: str) -> None:
    """Kelvin's sign, the long s and the i of other alphabets match A to Z where case is ignored: no name holds them."""
    for name in (letter, f"wid{letter}get"):
        with pytest.raises(InvalidName):
            parse_project_name(name)


def test_the_stem_of_a_project_has_underscores() -> None:
    """File names write the normalised project name with underscores."""
    assert file_stem(parse_name("foo_bar_baz-1.0.tar.gz").project, "1.0") == "foo_bar_baz-1.0"


@pytest.mark.parametrize(
    ("file_name", "universal"),
    [
        ("foo-1.0-py3-none-any.whl", True),
        ("foo-1.0-py2.py3-none-any.whl", True),
        ("foo-1.0-1-py3-none-any.whl", True),
        ("foo-1.0-py2-none-any.whl", False),
        ("foo-1.0-cp311-none-any.whl", False),
        ("foo-1.0-py3-none-linux_x86_64.whl", False),
        ("foo-1.0.tar.gz", False),
    ],
)
def test_universal_wheels_are_known_by_their_tags(file_name: str, universal: bool) -> None:
    """A wheel for every Python 3 has `py3` among its Python tags and ends with `none-any`."""
    assert is_universal_wheel(file_name) is universal
