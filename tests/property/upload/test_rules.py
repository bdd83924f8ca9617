"""The checks of an upload's form for any fields."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import example, given
from hypothesis import strategies as st
from packaging.utils import NormalizedName

from countermark.core.names import FileName
from services.upload import rules
from shared.errors import ServiceError
from shared.formats.interface import Coordinates, Inspected

WIDGET = Coordinates(
    "python", NormalizedName("widget"), "1.0", "1", FileName("widget-1.0-py3-none-any.whl"), "bdist_wheel", "widget"
)
INSPECTED = Inspected(b"", True, {"requires_dist": ["a>1", "b[c]; python_version<'4'"]}, ">=3.11,<4")
COMPUTED = {"sha256_digest": "aa", "blake2_256_digest": "bb", "md5_digest": "cc"}

_NAMES = st.sampled_from(
    [
        *(":action", "protocol_version", "metadata_version", "name", "version", "filetype", "requires_python"),
        *("requires_dist", "attestations", *COMPUTED),
    ]
)
_PARTS = st.sampled_from(["a", "1", ".", "0", ">=", "==", "~=", ",", ";", "(", ")", "[", "]", "*", "!", "+", " ", "'"])
_VALUES = st.text(max_size=40) | st.lists(_PARTS, max_size=25).map("".join)


@given(st.dictionaries(_NAMES, st.lists(_VALUES, max_size=3), max_size=8))
@example({"version": ["9" * 5000]})
@example({"requires_python": [">=" + "9" * 5000]})
@example({"requires_dist": ["a; " + "(" * 5000 + "x"]})
def test_any_form_is_judged(fields: dict[str, list[str]]) -> None:
    """Whatever a form says, the answer is a list of sentences."""
    faults = rules.form_faults(fields) + rules.digest_faults(fields, COMPUTED)
    faults += rules.identity_faults(fields, WIDGET) + rules.metadata_faults(fields, INSPECTED)
    assert all(fault.endswith(".") and len(fault) < 1000 for fault in faults)
    with suppress(ServiceError):
        assert rules.action_of(fields, on_index=True).value == rules.value_of(fields, ":action")


@given(st.permutations(INSPECTED.fields["requires_dist"]), st.sampled_from([">=3.11,<4", "<4, >=3.11"]))
def test_what_the_file_says_in_another_order_is_no_contradiction(wanted: list[str], python: str) -> None:
    """Builders and uploaders need not agree in order or spaces."""
    assert rules.metadata_faults({"requires_dist": wanted, "requires_python": [python]}, INSPECTED) == []
