"""The checks of an upload's form."""

import pytest
from packaging.utils import NormalizedName

from countermark.core.names import FileName
from services.upload import rules
from shared.errors import ErrorKind, ServiceError
from shared.formats.interface import Coordinates, Inspected

WIDGET = Coordinates(
    "python", NormalizedName("widget"), "1.0", "1", FileName("widget-1.0-py3-none-any.whl"), "bdist_wheel", "widget"
)
FORM = {
    ":action": ["file_upload"],
    "protocol_version": ["1"],
    "metadata_version": ["2.4"],
    "name": ["Widget"],
    "version": ["1.0.0"],
    "filetype": ["bdist_wheel"],
    "pyversion": ["py3"],
    "sha256_digest": ["aa"],
}


def inspected(requires_python: str | None = None, requires_dist: list[str] | None = None) -> Inspected:
    """What inspection found in a wheel."""
    return Inspected(b"", True, {"requires_dist": requires_dist or []}, requires_python)


def test_a_complete_form_has_no_faults() -> None:
    """The name and version may be spelled as people spell them."""
    assert rules.form_faults(FORM) == []
    assert rules.identity_faults(FORM, WIDGET) == []
    assert rules.metadata_faults(FORM, inspected()) == []


def test_all_faults_of_a_form_come_at_once() -> None:
    """An empty form is told everything it lacks."""
    text = "\n".join(rules.form_faults({"protocol_version": ["2"], "name": ["UNKNOWN"]}))
    for words in ("protocol_version", "metadata_version, name, version", "digest"):
        assert words in text


@pytest.mark.parametrize("action", ["submit", "submit_pkg_info", "doc_upload"])
def test_old_actions_are_gone(action: str) -> None:
    """What the host's upload URL once did is told apart from what it never did."""
    with pytest.raises(ServiceError) as raised:
        rules.action_of(FORM | {":action": [action]}, on_index=False)
    assert raised.value.kind is ErrorKind.GONE


def test_an_index_takes_files_and_registrations() -> None:
    """On an index's own URL `submit` is served; elsewhere, and for anything else, the words say what is wrong."""
    assert rules.action_of(FORM, on_index=False) is rules.Action.FILE_UPLOAD
    assert rules.action_of(FORM | {":action": ["submit"]}, on_index=True) is rules.Action.SUBMIT
    for fields, words in (({}, ":action field not found"), ({":action": ["dance"]}, "action 'dance' not supported")):
        with pytest.raises(ServiceError) as raised:
            rules.action_of(fields, on_index=True)
        assert raised.value.kind is ErrorKind.INVALID
        assert raised.value.detail.startswith(words)


def test_the_devpi_client_sends_no_digest_and_its_admission_needs_less() -> None:
    """Each is let off its own part of a form, and of no other."""
    bare = {name: values for name, values in FORM.items() if name not in {"sha256_digest", "filetype"}}
    assert len(rules.form_faults(bare)) == 2
    assert rules.form_faults(bare, strict=False, digests=False) == []
    assert "digest" in rules.form_faults(bare, strict=False)[0]
    assert "filetype" in rules.form_faults(bare, digests=False)[0]


def test_every_digest_given_must_match() -> None:
    """A right one does not excuse a wrong one; case does not matter."""
    computed = {"sha256_digest": "aa", "blake2_256_digest": "bb", "md5_digest": "cc"}
    assert rules.digest_faults({"sha256_digest": ["AA"], "md5_digest": ["cc"]}, computed) == []
    (fault,) = rules.digest_faults({"sha256_digest": ["aa"], "md5_digest": ["dd"]}, computed)
    assert "md5 digest dd is not that of the bytes received, cc" in fault


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "gadget", "of project widget"),
        ("version", "2.0", "of version 1.0"),
        ("version", "not a version", "of version 1.0"),
        ("filetype", "sdist", "that of a bdist_wheel"),
    ],
)
def test_a_form_that_speaks_of_another_file_is_refused(field: str, value: str, words: str) -> None:
    """The form's name, version and kind must be the file name's."""
    (fault,) = rules.identity_faults(FORM | {field: [value]}, WIDGET)
    assert words in fault


def test_requirements_are_compared_by_meaning() -> None:
    """Order, spaces and the spelling of names do not matter; a missing or another requirement does."""
    file = inspected(requires_dist=["Some.Thing>=1,<2", 'b; python_version < "3.12"'])
    same = {"requires_dist": ['b ; python_version<"3.12"', "some-thing <2,>=1"]}
    assert rules.metadata_faults(same, file) == []
    assert rules.metadata_faults({"requires_dist": ["some-thing<2,>=1"]}, file) != []
    assert rules.metadata_faults({}, file) == [], "a form that says nothing contradicts nothing"


DIGITS = "1" * 5000
"""More than Python converts into a number."""


@pytest.mark.parametrize(
    "requirement", [f"widget>1,=={DIGITS}", f"widget<2,>=1a{DIGITS}", f"widget=={DIGITS}", "widget; " + "(" * 8000]
)
def test_requirements_that_cannot_be_parsed_are_a_fault(requirement: str) -> None:
    """Numbers and brackets beyond what the parser takes are told in words; the same text in the file is no fault."""
    (fault,) = rules.metadata_faults({"requires_dist": [requirement]}, inspected())
    assert "requires_dist differs" in fault
    assert rules.metadata_faults({"requires_dist": [requirement]}, inspected(requires_dist=[requirement])) == []


@pytest.mark.parametrize("specifier", [f"=={DIGITS}", f">={DIGITS}", f"~=1.{DIGITS}", f"=={DIGITS}.*"])
def test_versions_that_cannot_be_parsed_are_a_fault(specifier: str) -> None:
    """A huge number in the form is told in words."""
    assert rules.metadata_faults({"requires_python": [specifier]}, inspected(">=3.11")) != []
    assert rules.identity_faults(FORM | {"version": [specifier.strip("=<>~")]}, WIDGET) != []


def test_requires_python_is_compared_by_meaning() -> None:
    """Empty means absent, as uv sends it."""
    assert rules.metadata_faults({"requires_python": ["<4,>=3.11"]}, inspected(">=3.11,<4")) == []
    assert rules.metadata_faults({"requires_python": [""]}, inspected(">=3.11")) == []
    assert rules.metadata_faults({"requires_python": [">=3.12"]}, inspected(">=3.11")) != []


def test_names_that_mislead_are_warned_of() -> None:
    """A module of the standard library and a project that looks alike have a sentence each."""
    assert rules.name_warnings(NormalizedName("widget"), None) == []
    (module,) = rules.name_warnings(NormalizedName("http"), None)
    assert "standard library" in module
    (alike,) = rules.name_warnings(NormalizedName("w1dget"), "widget")
    assert "looks like that of the project widget" in alike
