"""Requirements as people write them. Source: PEP 440, PEP 508; pip's requirements file format."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark.core.digest import parse_sha256
from countermark.core.errors import UsageFault
from countermark.requirements import parse_requirement, read_requirements

ONE, TWO = parse_sha256("a" * 64), parse_sha256("b" * 64)


def _ignore(_: str) -> None:
    """Tell nobody."""


def test_a_file_as_pip_compile_writes_it(tmp_path: Path) -> None:
    """Continued lines, digests, comments, markers, ranges and bare names are all read."""
    path = tmp_path / "requirements.txt"
    path.write_text(
        "# made by a tool\n\n"
        f"Widget==1.10 \\\n    --hash=sha256:{ONE} \\\n    --hash=sha256:{TWO}\n    # via app\n"
        f'gizmo>=1,<2 ; python_version >= "3" --hash=sha256:{ONE}  # why\n'
        f'old==1 ; python_version < "3" --hash=sha256:{ONE}\n'
        f"plain --hash sha256:{TWO}"
    )
    notes: list[str] = []
    widget, gizmo, plain = read_requirements(path, notes.append)
    assert (str(widget), widget.hashes) == ("widget==1.10", frozenset({ONE, TWO}))
    assert (gizmo.project, gizmo.version, set(map(str, gizmo.versions))) == ("gizmo", None, {">=1", "<2"})
    assert (str(plain), plain.hashes) == ("plain", frozenset({TWO}))
    assert len(notes) == 1
    assert "old==1" in notes[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-r other.txt", "line 2: -r is not read"),
        ("--index-url https://elsewhere.example/simple", "--index-url is not read"),
        ("-e .", "-e is not read"),
        ("widget @ https://elsewhere.example/widget.whl", "names an address"),
        ("./widget.whl", "cannot read"),
        (f"widget==1 --hash=md5:{'0' * 32}", "no sha256 digest"),
        (f"widget==1 --hash={ONE}", "no sha256 digest"),
        (f"widget==1 --hash=sha256:{'A' * 64}", "no sha256 digest"),
        ("widget==1 --config-settings=x", "--config-settings is not read"),
        ("widget==one", "cannot read"),
        (f"widget==1 --hash=sha256:{ONE}", "bare has no --hash"),
    ],
)
def test_what_cannot_be_honoured_is_refused(line: str, words: str, tmp_path: Path) -> None:
    """Lines that would change where files come from, or loosen a digest, end the reading with their number."""
    path = tmp_path / "requirements.txt"
    path.write_text(f"bare\n{line}\n")
    with pytest.raises(UsageFault) as caught:
        read_requirements(path, _ignore)
    assert words in caught.value.problem


def test_unreadable_files_are_usage_faults(tmp_path: Path) -> None:
    """A missing file, one that is no text, and an endless one are refused."""
    binary, endless = tmp_path / "binary", tmp_path / "endless"
    binary.write_bytes(b"\xff\xfe")
    endless.write_text("a\n" * 100_001)
    for path in (binary, endless, tmp_path / "missing"):
        with pytest.raises(UsageFault):
            read_requirements(path, _ignore)


@given(st.one_of(st.binary(max_size=200), st.text("aw=1.*<>~!;[](),@ -\\\n#\t\"'", max_size=60).map(str.encode)))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Whatever a file holds, the outcome is a list or one usage fault."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.txt"
        path.write_bytes(data)
        with contextlib.suppress(UsageFault):
            assert all(str(each) for each in read_requirements(path, _ignore))


@given(st.text(max_size=40))
def test_any_name_is_read_or_refused(text: str) -> None:
    """Whatever is typed as a name, the outcome is what is wanted or one usage fault."""
    with contextlib.suppress(UsageFault):
        found = parse_requirement(text, _ignore)
        assert found is None or str(found)


def test_exact_versions_and_ranges() -> None:
    """`==V` is that version; `==1.*`, `~=` and two clauses are ranges; extras are told of and dropped."""
    exact = parse_requirement("Widget == 1.10+abc", _ignore)
    assert exact is not None
    assert str(exact) == "widget==1.10+abc"
    for text in ("widget==1.*", "widget~=1.2", "widget==1,>0"):
        ranged = parse_requirement(text, _ignore)
        assert ranged is not None
        assert ranged.version is None
        assert ranged.versions
    notes: list[str] = []
    assert parse_requirement("widget[extra]", notes.append) is not None
    assert "dependencies" in notes[0]
