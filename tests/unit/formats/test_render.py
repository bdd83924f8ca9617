"""What is signed for a project: page document, pointers, latest."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from countermark.core.names import IndexName, TargetPath, latest_target, page_target
from countermark.core.pointer import parse_latest, parse_pointer
from shared.formats.interface import ProjectPage
from shared.formats.registry import FORMATS
from tests.unit.formats.pages import UPLOADED, page_file, project_page, render_all

WHEEL = "widget-1.10-py3-none-any.whl"
LOCAL = "widget-1.9+cu.1-py3-none-any.whl"
SDIST = "widget-1.10.tar.gz"


def _document(page: ProjectPage) -> bytes:
    return render_all(page)[page_target(page.project)]


def test_a_page_document_has_exactly_these_bytes() -> None:
    """Keys stand in a fixed order without blanks; optional ones without a value are left out."""
    files = [
        page_file(WHEEL, requires_python=">=3.8,<4", core_metadata=True),
        page_file(SDIST, yanked=""),
        page_file(LOCAL, yanked='say "no"'),
    ]
    assert _document(project_page(files)).decode() == (
        '{"meta":{"api-version":"1.4","_last-serial":7,"_index":"root/stable"},"name":"widget",'
        '"versions":["1.10","1.9+cu.1"],"files":['
        '{"filename":"widget-1.9+cu.1-py3-none-any.whl",'
        f'"url":"../../+f/{files[2].sha256[:3]}/{files[2].sha256[3:16]}/widget-1.9%2Bcu.1-py3-none-any.whl",'
        f'"hashes":{{"sha256":"{files[2].sha256}"}},"size":32,"upload-time":"2026-03-04T05:06:07.000089Z",'
        '"yanked":"say \\"no\\""},'
        '{"filename":"widget-1.10-py3-none-any.whl",'
        f'"url":"../../+f/{files[0].sha256[:3]}/{files[0].sha256[3:16]}/widget-1.10-py3-none-any.whl",'
        f'"hashes":{{"sha256":"{files[0].sha256}"}},"requires-python":">=3.8,<4","size":28,'
        '"upload-time":"2026-03-04T05:06:07.000089Z","yanked":false,'
        f'"core-metadata":{{"sha256":"{files[0].core_metadata_sha256}"}},'
        f'"data-dist-info-metadata":{{"sha256":"{files[0].core_metadata_sha256}"}}}},'
        '{"filename":"widget-1.10.tar.gz",'
        f'"url":"../../+f/{files[1].sha256[:3]}/{files[1].sha256[3:16]}/widget-1.10.tar.gz",'
        f'"hashes":{{"sha256":"{files[1].sha256}"}},"size":18,"upload-time":"2026-03-04T05:06:07.000089Z",'
        '"yanked":true}]}'
    )


def test_the_order_of_rows_does_not_matter() -> None:
    """The same files in another order give the same bytes, under the same targets in the same order."""
    names = [WHEEL, SDIST, LOCAL, "widget-1.10-cp311-cp311-win32.whl", "widget-1.0-py3-none-any.whl"]
    files = [page_file(name) for name in names]
    assert list(render_all(project_page(files)).items()) == list(render_all(project_page(files[::-1])).items())


def test_versions_are_ordered_as_versions() -> None:
    """Versions descend in the list and ascend among files, by PEP 440 and not by text."""
    names = [f"widget-{version}-py3-none-any.whl" for version in ("1.9", "1.10", "1.10rc1", "1!0.1", "1.0", "1.0.0")]
    document = json.loads(_document(project_page([page_file(name) for name in names])))
    assert document["versions"] == ["1!0.1", "1.10", "1.10rc1", "1.9", "1.0.0", "1.0"]
    assert [file["filename"].split("-")[1] for file in document["files"]] == document["versions"][::-1]


def test_times_are_utc() -> None:
    """A time in another zone is written in UTC, one without a zone refused, whole seconds without a fraction."""
    local = UPLOADED.replace(microsecond=0).astimezone(timezone(timedelta(hours=5)))
    document = json.loads(_document(project_page([page_file(WHEEL, uploaded_at=local)])))
    assert document["files"][0]["upload-time"] == "2026-03-04T05:06:07Z"
    with pytest.raises(ValueError, match="aware"):
        _document(project_page([page_file(WHEEL, uploaded_at=datetime(2026, 1, 1))]))  # noqa: DTZ001


def test_no_value_is_null() -> None:
    """One null makes uv refuse the whole page."""
    assert b"null" not in _document(project_page([page_file(WHEEL), page_file(SDIST)]))


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("active", None, None),
        ("active", "ignored", None),
        ("archived", None, {"status": "archived"}),
        ("deprecated", "use other", {"status": "deprecated", "reason": "use other"}),
        ("archived", "", {"status": "archived"}),
    ],
)
def test_a_status_is_told_unless_active(status: str, reason: str | None, expected: object) -> None:
    """The status is an object, with a reason when there is one, and left out when nothing is the matter."""
    page = project_page([page_file(WHEEL)], status=status, status_reason=reason)
    document = json.loads(_document(page))
    assert document.get("project-status") == expected
    assert len(document["files"]) == 1


def test_a_quarantined_project_lists_nothing() -> None:
    """No installer looks at the status: files, versions and pointers are gone, the page remains."""
    page = project_page([page_file(WHEEL)], status="quarantined", status_reason="malware")
    targets = render_all(page)
    assert list(targets) == [page_target(page.project)]
    document = json.loads(targets[page_target(page.project)])
    assert (document["files"], document["versions"]) == ([], [])
    assert document["project-status"] == {"status": "quarantined", "reason": "malware"}


def test_every_file_has_its_pointer() -> None:
    """Pointers bind name, version, index, key, digest and length; `+` is `~` in their target paths only."""
    page = project_page([page_file(WHEEL), page_file(LOCAL)])
    targets = render_all(page)
    assert sorted(targets) == [
        "pointers/widget/_latest.pointer",
        "pointers/widget/_simple.json",
        "pointers/widget/widget-1.10-py3-none-any.whl.pointer",
        "pointers/widget/widget-1.9~cu.1-py3-none-any.whl.pointer",
    ]
    pointer = parse_pointer(targets[TargetPath("pointers/widget/widget-1.9~cu.1-py3-none-any.whl.pointer")])
    file = page.files[1]
    assert (pointer.name, pointer.version, pointer.index) == ("widget", "1.9+cu.1", IndexName("root", "stable"))
    assert pointer.file.uri == f"/files/{file.sha256[:2]}/{file.sha256[2:]}/{LOCAL}"
    assert (pointer.file.digest, pointer.file.length) == (file.sha256, file.length)
    assert pointer.attestation is None


def test_only_asked_for_pointers_are_rendered() -> None:
    """A publication renders the pointers of its new files; page and latest tell of all files."""
    page = project_page([page_file(WHEEL), page_file(LOCAL)])
    some = FORMATS["python"].render(page, {page.files[1].file_name})
    everything = render_all(page)
    assert set(everything) - set(some) == {TargetPath("pointers/widget/widget-1.10-py3-none-any.whl.pointer")}
    assert some.items() <= everything.items()


@pytest.mark.parametrize(
    ("names", "yanked", "expected"),
    [
        (["1.10-py3-none-any.whl", "1.9-py3-none-any.whl"], [], "1.10-py3-none-any.whl"),
        (["2.0rc1-py3-none-any.whl", "1.9-py3-none-any.whl"], [], "1.9-py3-none-any.whl"),
        (["2.0.dev1-py3-none-any.whl", "2.0a1-py3-none-any.whl"], [], "2.0a1-py3-none-any.whl"),
        (["1.10-py3-none-any.whl", "1.9-py3-none-any.whl"], ["1.10-py3-none-any.whl"], "1.9-py3-none-any.whl"),
        (["2.0-py3-none-any.whl", "1.9rc1-py3-none-any.whl"], ["2.0-py3-none-any.whl"], "1.9rc1-py3-none-any.whl"),
        (["1.10.tar.gz", "1.9.tar.gz"], ["1.10.tar.gz", "1.9.tar.gz"], "1.10.tar.gz"),
        (["1.0.tar.gz", "1.0-cp39-cp39-win32.whl", "1.0-py3-none-any.whl"], [], "1.0-py3-none-any.whl"),
        (["1.0.tar.gz", "1.0-cp39-cp39-win32.whl", "1.0-cp310-cp310-win32.whl"], [], "1.0-cp310-cp310-win32.whl"),
        (["1.0.tar.gz", "1.0-py3-none-any.whl"], ["1.0-py3-none-any.whl"], "1.0.tar.gz"),
    ],
)
def test_the_latest_release_is_chosen(names: list[str], yanked: list[str], expected: str) -> None:
    """Newest neither yanked nor pre-release, else not yanked, else newest; then the file that fits most machines."""
    files = [page_file(f"widget-{name}", yanked="" if name in yanked else None) for name in names]
    page = project_page(files)
    latest = parse_latest(render_all(page)[latest_target(page.project)])
    assert latest.file == f"widget-{expected}"
    assert (latest.name, latest.index) == ("widget", IndexName("root", "stable"))
    assert latest.version == next(file.version for file in files if file.file_name == latest.file)


def test_a_page_without_files_renders() -> None:
    """A project whose files are all gone still has its page, but no pointers."""
    page = project_page([])
    assert list(render_all(page)) == [page_target(page.project)]


def test_ten_thousand_files_render_in_well_under_a_second() -> None:
    """Rendering is linear; the bound leaves a slow and busy machine much room."""
    one = page_file("widget-1.0-py3-none-any.whl")
    files = [
        replace(one, file_name=page_file(f"widget-{n}.{m}-py3-none-any.whl").file_name, version=f"{n}.{m}")
        for n in range(100)
        for m in range(100)
    ]
    page = project_page(files)
    start = time.process_time()
    assert len(render_all(page)) == 10_002
    assert time.process_time() - start < 2
