"""What strangers write into a wheel's dist-info, and into forms of our own API: any bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.upload.schemas import StatusChange, YankRequest
from shared.formats.interface import InvalidFile
from shared.formats.python.metadata import parse_core_metadata
from shared.formats.python.names import parse_name
from shared.formats.registry import FORMATS
from tests.support.archives import wheel_members, with_record, zip_of

WIDGET = parse_name("widget-1.0-py3-none-any.whl")
INFO = "widget-1.0.dist-info"

_HEADERS = st.sampled_from(
    [
        *("Metadata-Version", "Name", "Version", "Summary", "Requires-Dist", "Requires-Python", "Classifier", "X"),
        *("Project-URL", "License-Expression", "License-File", "Description-Content-Type", "Dynamic", "Keywords"),
        "Import-Name",
    ]
)
_VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["2.4", "widget", "1.0", ">=3", "a; " + "(" * 3000, ">=" + "9" * 5000, "MIT", "..", "text/x-rst", "name"]
)
_METADATA = st.lists(st.tuples(_HEADERS, _VALUES), max_size=10).map(
    lambda lines: "".join(f"{name}: {value}\n" for name, value in lines)
)


@settings(deadline=None)
@given((_METADATA.map(str.encode) | st.binary(max_size=200)), st.binary(max_size=80))
@example(b"Description-Content-Type: text/x-rst; a=\xc3\xa9\n", b"x")
@example(b"Keywords: \xff", b"")
def test_any_metadata_is_parsed_or_faulted_in_words(head: bytes, body: bytes) -> None:
    """Every fault and warning is a sentence in ASCII; fields are what JSON can hold."""
    core = parse_core_metadata(head + b"\n" + body, "METADATA", WIDGET)
    for sentence in (*core.issues, *core.warnings):
        assert sentence.isascii()
        assert sentence.endswith(".")
        assert "\n" not in sentence


_LINES = st.lists(
    st.sampled_from(["[console_scripts]", "[x]", "a=b:c", "=", "a", " b", "\ta = c", "[", "%(x)s", "\0", "é", "a=b\r"]),
    max_size=8,
).map(lambda lines: "\n".join(lines).encode())


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["WHEEL", "entry_points.txt", "RECORD"]),
    _LINES | st.binary(max_size=80) | st.just(b'widget/__init__.py,"sha256=\n'),
)
def test_any_dist_info_is_inspected_or_refused(name: str, content: bytes) -> None:
    """A wheel is taken or refused with sentences; no file of its dist-info makes inspection fail."""
    members = with_record("widget", "1.0", {**wheel_members("widget", "1.0"), f"{INFO}/{name}": content})
    if name == "RECORD":
        members[f"{INFO}/RECORD"] = content
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wheel"
        path.write_bytes(zip_of(members))
        try:
            issues = FORMATS["python"].inspect(path, WIDGET).warnings
        except InvalidFile as error:
            issues = error.issues
    assert all(issue.isascii() and issue.endswith(".") for issue in issues)


@given(
    st.text(max_size=40) | st.text(st.characters(codec="latin-1"), max_size=5), st.sampled_from(["archived", "gone"])
)
@example("\ud800", "archived")
@example("a\u2028b", "archived")
def test_a_reason_is_one_line_or_refused(reason: str, status: str) -> None:
    """What is taken fits an HTML attribute, a header and a line of the journal."""
    for shape, fields in ((YankRequest, {}), (StatusChange, {"status": status})):
        try:
            taken = shape.model_validate({"reason": reason, **fields}).reason or ""
        except ValidationError:
            continue
        assert len(taken.splitlines()) <= 1
        assert taken == taken.strip()
        assert taken.encode().decode() == taken
