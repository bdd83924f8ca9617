"""What a wheel or source archive says of itself, and every way in which it may contradict itself."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from shared.formats.interface import Inspected, InvalidFile
from shared.formats.registry import FORMATS
from tests.support.archives import (
    Project,
    TarEntry,
    make_sdist,
    make_wheel,
    raw_tar_gz,
    record_line,
    sdist_name,
    wheel_members,
    wheel_name,
    with_record,
    zip_of,
)

Inspect = Callable[[str, bytes], Inspected]

WHEEL = wheel_name("Foo.Bar", "1.0")
SDIST = sdist_name("Foo.Bar", "1.0")
INFO = "foo_bar-1.0.dist-info"
PROJECT = Project("Foo.Bar", "1.0")


@pytest.fixture
def inspect(tmp_path: Path) -> Inspect:
    """Return a function that inspects bytes sent under a file name."""

    def inspector(file_name: str, data: bytes) -> Inspected:
        path = tmp_path / "upload"
        path.write_bytes(data)
        python = FORMATS["python"]
        return python.inspect(path, python.parse_name(file_name))

    return inspector


def _issues(inspect: Inspect, file_name: str, data: bytes) -> tuple[str, ...]:
    with pytest.raises(InvalidFile) as caught:
        inspect(file_name, data)
    assert str(caught.value).isascii()
    return caught.value.issues


def _wheel(**changes: bytes | None) -> bytes:
    """Return a wheel whose dist-info members are changed, or left out, before RECORD is made."""
    members: dict[str, bytes] = wheel_members("Foo.Bar", "1.0", project=PROJECT)
    for name, data in changes.items():
        path = f"{INFO}/{name}" if "/" not in name else name
        members.pop(path, None)
        if data is not None:
            members[path] = data
    return zip_of(with_record("Foo.Bar", "1.0", members))


def test_a_wheel_gives_its_metadata(inspect: Inspect) -> None:
    """Fields come from METADATA, whose bytes are kept verbatim and may be served."""
    project = Project(
        "Foo.Bar",
        "1.0",
        requires_python=">=3.8",
        requires_dist=["a>1", "b; python_version < '4'"],
        lines=["Project-URL: Home, https://x.test", "Keywords: a,b", "X-Unknown: 1"],
        description="Caf\u00e9\n\nmore\n",
    )
    found = inspect(WHEEL, make_wheel("Foo.Bar", "1.0", project=project))
    assert found.core_metadata == project.to_bytes()
    assert found.serves_core_metadata
    assert found.requires_python == ">=3.8"
    assert found.fields == {
        "description": "Caf\u00e9\n\nmore\n",
        "keywords": ["a", "b"],
        "metadata_version": "2.1",
        "name": "Foo.Bar",
        "project_urls": {"Home": "https://x.test"},
        "requires_dist": ["a>1", "b; python_version < '4'"],
        "requires_python": ">=3.8",
        "version": "1.0",
    }


def test_a_source_archive_gives_its_metadata(inspect: Inspect) -> None:
    """Fields come from PKG-INFO, which is not served: an installation may compute others."""
    found = inspect(SDIST, make_sdist("Foo.Bar", "1.0", requires_python=">=3.8"))
    assert not found.serves_core_metadata
    assert found.requires_python == ">=3.8"
    assert found.core_metadata == Project("Foo.Bar", "1.0", requires_python=">=3.8").to_bytes()


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6"])
def test_every_metadata_version_is_taken(inspect: Inspect, version: str) -> None:
    """All versions that were ever written are taken, but 2.0 and those to come."""
    assert inspect(WHEEL, _wheel(METADATA=replace(PROJECT, metadata_version=version).to_bytes())).fields["name"]


@pytest.mark.parametrize(
    ("project", "words"),
    [
        (replace(PROJECT, metadata_version="2.0"), "'2.0' is not a valid metadata version"),
        (replace(PROJECT, metadata_version="2.7"), "'2.7' is not a valid metadata version"),
        (replace(PROJECT, name="other"), "is of the project 'other', the file name of 'foo-bar'"),
        (replace(PROJECT, name="-x-"), "invalid for 'name'"),
        (replace(PROJECT, version="1.1"), "is of version '1.1', the file name of '1.0'"),
        (replace(PROJECT, version="1.0.0"), "is of version '1.0.0'"),
        (replace(PROJECT, version="one"), "'one' is invalid for 'version'"),
        (replace(PROJECT, version="9" * 5000), "METADATA"),
        (replace(PROJECT, requires_python="three"), "'three' is invalid for 'requires-python'"),
        (replace(PROJECT, requires_dist=["a >>> 1"]), "'a >>> 1' is invalid for 'requires-dist'"),
        (replace(PROJECT, requires_dist=["a; " + "(" * 4000 + "x"]), "METADATA"),
        (replace(PROJECT, requires_dist=["a" * 9000]), "longer than 8192"),
        (replace(PROJECT, summary="x" * 513), "longer than 512"),
        (replace(PROJECT, summary="x\n  y"), "single line"),
        (replace(PROJECT, lines=["Name: again"]), "the field 'name' is not well-formed, or there more than once"),
        (replace(PROJECT, lines=["Version: 1.0"]), "the field 'version'"),
        (replace(PROJECT, lines=["Project-URL: " + "l" * 33 + ", https://x.test"]), "label of 1 to 32"),
        (replace(PROJECT, lines=["Project-URL: home, ftp://x.test"]), "http(s) URL"),
        (
            replace(PROJECT, lines=["Project-URL: a, https://x.test", "Project-URL: a, https://y.test"]),
            "'project_urls'",
        ),
        (replace(PROJECT, metadata_version="2.4", lines=["License-Expression: Nonsense"]), "license-expression"),
        (replace(PROJECT, metadata_version="2.4", lines=["License-Expression: " + "(" * 4000]), "METADATA"),
        (
            replace(PROJECT, metadata_version="2.4", lines=["License: MIT", "License-Expression: MIT"]),
            "both License and License-Expression",
        ),
        (replace(PROJECT, metadata_version="2.4", lines=["License-File: ../x"]), "parent directory"),
        (replace(PROJECT, metadata_version="2.4", lines=["License-File: LICENSE"]), "'LICENSE' of METADATA is not in"),
        (replace(PROJECT, lines=["Dynamic: Name"]), "not allowed as a dynamic field"),
        (replace(PROJECT, lines=["Dynamic: Nonsense"]), "not a valid dynamic field"),
        (replace(PROJECT, lines=["Description-Content-Type: text/html"]), "description-content-type"),
        (replace(PROJECT, lines=["Content-Type: multipart/mixed; boundary=x"]), "MIME headers"),
        (replace(PROJECT, lines=["Content-Transfer-Encoding: base64"]), "MIME headers"),
        (replace(PROJECT, lines=["Description: a"], description="b"), "'description'"),
        (replace(PROJECT, description="a\0b"), "NUL"),
        (replace(PROJECT, lines=["Classifier: x"] * 20_001), "more than 20000 fields"),
    ],
)
def test_bad_metadata_are_refused(inspect: Inspect, project: Project, words: str) -> None:
    """Every rule for core metadata has its sentence."""
    issues = _issues(inspect, WHEEL, _wheel(METADATA=project.to_bytes()))
    assert any(words in issue for issue in issues), issues


@pytest.mark.parametrize(
    "lines",
    [
        ["License-File: ../LICENSE", "Provides-Extra: Test"],
        ["Requires-Python:"],
        ["Requires-Dist: x @ https://x.test/x-1.0.tar.gz"],
        ["Classifier: Private :: Do Not Upload", "Classifier: Made :: Up"],
        ["Author: Jos\u00e9"],
    ],
)
def test_what_private_indexes_need_is_taken(inspect: Inspect, lines: list[str]) -> None:
    """Fields newer than the metadata version, direct requirements, private and unknown classifiers are no faults."""
    found = inspect(WHEEL, _wheel(METADATA=replace(PROJECT, lines=lines).to_bytes()))
    assert found.requires_python is None


def test_a_licence_classifier_beside_an_expression_is_taken(inspect: Inspect) -> None:
    """Widely used builders write both."""
    project = replace(
        PROJECT, metadata_version="2.4", lines=["License-Expression: MIT", "Classifier: License :: OSI Approved"]
    )
    assert inspect(WHEEL, _wheel(METADATA=project.to_bytes())).fields["license_expression"] == "MIT"


def test_licence_files_must_be_there(inspect: Inspect) -> None:
    """From metadata 2.4 on, licence files are in `licenses/` of a wheel, or below a source archive's top folder."""
    project = replace(PROJECT, metadata_version="2.4", lines=["License-File: docs/LICENSE"])
    wheel = make_wheel("Foo.Bar", "1.0", project=project, extra_members={f"{INFO}/licenses/docs/LICENSE": b"MIT"})
    sdist = make_sdist("Foo.Bar", "1.0", project=project, extra_members={"docs/LICENSE": b"MIT"})
    assert inspect(WHEEL, wheel).fields["license_files"] == inspect(SDIST, sdist).fields["license_files"]
    issues = _issues(inspect, SDIST, make_sdist("Foo.Bar", "1.0", project=project))
    assert issues == ("The licence file 'docs/LICENSE' of PKG-INFO is not in the archive.",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"METADATA": None}, "no METADATA"),
        ({"WHEEL": None}, "no WHEEL"),
        ({"METADATA": b"\xff"}, "METADATA is not UTF-8"),
        ({"METADATA": b""}, "does not say Metadata-Version"),
        ({"METADATA": bytes(9 << 20)}, "longer than"),
        ({"WHEEL": b"Wheel-Version: 2.0\n"}, "Wheel-Version 1.x"),
        ({"WHEEL": b"\xff\xff"}, "Wheel-Version 1.x"),
        ({"other-1.0.dist-info/METADATA": b""}, "several dist-info folders"),
        ({"foo_bar-1.1.DIST-INFO/METADATA": b""}, "several dist-info folders"),
        ({"entry_points.txt": b"[console_scripts\n"}, "not a valid INI"),
        ({"entry_points.txt": b"\xff"}, "not a valid INI"),
        ({"entry_points.txt": b"[console_scripts]\n../evil = a:b\n"}, "'../evil'"),
        ({"entry_points.txt": b"[gui_scripts]\na/b = a:b\n"}, "'a/b'"),
    ],
)
def test_a_broken_dist_info_is_refused(inspect: Inspect, changes: Mapping[str, bytes | None], words: str) -> None:
    """Each part of the dist-info folder has its rule."""
    issues = _issues(inspect, WHEEL, _wheel(**changes))
    assert any(words in issue for issue in issues), issues


def test_a_truncated_wheel_is_told_so_alone(inspect: Inspect) -> None:
    """What was not read is not called missing; what was read is checked."""
    data = make_wheel("Foo.Bar", "1.0", project=replace(PROJECT, name="other"))
    cut = data[: data.index(b"RECORD")]
    assert _issues(inspect, WHEEL, cut) == (
        "The zip is cut short.",
        "METADATA is of the project 'other', the file name of 'foo-bar'.",
    )
    assert _issues(inspect, WHEEL, data[:200]) == ("The zip is cut short.",)


def test_entry_points_are_taken(inspect: Inspect) -> None:
    """Scripts with plain names, and groups of any name, are fine."""
    assert inspect(WHEEL, _wheel(**{"entry_points.txt": b"[console_scripts]\nfoo-Bar.1 = a:b\n[x y]\n/ = a\n"}))


def test_a_dist_info_of_another_name_is_refused(inspect: Inspect) -> None:
    """The folder's name and version must be the file name's, in any spelling."""
    other = make_wheel("other", "1.0", project=PROJECT)
    assert "does not fit the file name" in _issues(inspect, WHEEL, other)[0]
    no_info = zip_of({"foo.py": b""})
    assert _issues(inspect, WHEEL, no_info) == ("The wheel has no dist-info folder.",)


def _recorded(change: Callable[[str], str]) -> bytes:
    members = with_record("Foo.Bar", "1.0", wheel_members("Foo.Bar", "1.0", project=PROJECT))
    path = f"{INFO}/RECORD"
    return zip_of({**members, path: change(members[path].decode()).encode()})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.partition("\n")[2], "RECORD does not list 'foo_bar/__init__.py'."),
        (lambda text: text + record_line("gone", b"") + "\n", "RECORD lists 'gone', which is not in the wheel."),
        (lambda text: text + text, "twice"),
        (lambda text: text.replace("sha256=", "sha256=A", 1), "sha256 digest of 'foo_bar/__init__.py'"),
        (lambda text: text.replace("sha256=", "md5=", 1), "sha256 digest of 'foo_bar/__init__.py'"),
        (lambda text: text.replace(",20\n", ",21\n", 1), "size of 'foo_bar/__init__.py'"),
        (lambda text: text.replace(",20\n", ",\n", 1), "size of 'foo_bar/__init__.py'"),
        (lambda text: text + "a,b\n", "not path,digest,size"),
        (lambda text: text + '"a', "cannot be read"),
        (lambda _: "", "RECORD does not list"),
    ],
)
def test_a_record_that_is_not_true_is_refused(inspect: Inspect, change: Callable[[str], str], words: str) -> None:
    """RECORD lists every member with its digest and size, and nothing else."""
    issues = _issues(inspect, WHEEL, _recorded(change))
    assert any(words in issue for issue in issues), issues


def test_a_wheel_without_record_is_refused(inspect: Inspect) -> None:
    """A wheel must have a RECORD."""
    data = zip_of(wheel_members("Foo.Bar", "1.0", project=PROJECT))
    assert _issues(inspect, WHEEL, data) == ("The wheel has no RECORD in its dist-info folder.",)


def test_what_record_need_not_list(inspect: Inspect) -> None:
    """RECORD itself, its signatures and folders may be missing from it; backslashes and commas are understood."""
    members = with_record("Foo.Bar", "1.0", wheel_members("Foo.Bar", "1.0", extra_members={"a,b": b"1", "x/y": b"2"}))
    path = f"{INFO}/RECORD"
    record = members[path].replace(f"{path},,\n".encode(), b"").replace(b"x/y", b"x\\y")
    assert inspect(WHEEL, zip_of({**members, path: record, f"{INFO}/RECORD.jws": b"{}", "folder/": b""}))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([TarEntry("foo_bar-1.0/setup.py")], "no PKG-INFO"),
        ([TarEntry("foo_bar-1.0/src/PKG-INFO", PROJECT.to_bytes())], "no PKG-INFO"),
        ([TarEntry("a/PKG-INFO", PROJECT.to_bytes()), TarEntry("b/PKG-INFO", b"")], "one top folder"),
        ([TarEntry("a/PKG-INFO", Project("other", "1.0").to_bytes())], "PKG-INFO is of the project 'other'"),
        ([TarEntry("a/PKG-INFO", Project("foo-bar", "2").to_bytes())], "PKG-INFO is of version '2'"),
        ([TarEntry("a/PKG-INFO", kind=b"2", link="b")], "no PKG-INFO"),
    ],
)
def test_a_broken_source_archive_is_refused(inspect: Inspect, entries: list[TarEntry], words: str) -> None:
    """PKG-INFO is a regular file in the one top folder and true to the file name."""
    issues = _issues(inspect, SDIST, raw_tar_gz(entries))
    assert any(words in issue for issue in issues), issues


def test_kinds_are_not_mixed_up(inspect: Inspect) -> None:
    """A wheel under a source archive's name is refused, and the other way round."""
    assert _issues(inspect, SDIST, make_wheel("Foo.Bar", "1.0")) == ("The file is not compressed by gzip.",)
    assert _issues(inspect, WHEEL, make_sdist("Foo.Bar", "1.0")) == ("The file is not a zip archive.",)


def test_faults_of_archive_and_metadata_come_together(inspect: Inspect) -> None:
    """One answer tells all that is to be mended."""
    metadata = replace(PROJECT, name="other", requires_python="three").to_bytes()
    issues = _issues(inspect, WHEEL, _wheel(**{"METADATA": metadata, "../evil": b"", "entry_points.txt": b"x"}))
    assert len(issues) == 4
    assert "'..'" in issues[0]


def test_a_large_wheel_is_not_read_into_memory(inspect: Inspect) -> None:
    """Memory stays at a few read buffers whatever the size of the file."""
    data = make_wheel("Foo.Bar", "1.0", payload_bytes=12 << 20)
    tracemalloc.start()
    try:
        inspect(WHEEL, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20
