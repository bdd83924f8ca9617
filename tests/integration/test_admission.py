"""What the upload service admits: every hostile or contradictory file that peers take is refused here in words."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.archives import (
    Project,
    TarEntry,
    make_sdist,
    make_wheel,
    raw_tar_gz,
    raw_zip,
    wheel_members,
    with_record,
    zip_entry,
    zip_of,
)
from tests.support.resources import Scan
from tests.support.uploader import Uploader, open_uploader
from tests.support.uploading import form_fields

WHEEL = "widget-1.0-py3-none-any.whl"
INFO = "widget-1.0.dist-info"


def _changed(members: Mapping[str, bytes]) -> bytes:
    """Return a wheel with other members than a build tool makes; its RECORD is true of them."""
    return zip_of(with_record("widget", "1.0", {**wheel_members("widget", "1.0"), **members}))


def _twice() -> bytes:
    """Return a wheel that has a member twice."""
    members = with_record("widget", "1.0", wheel_members("widget", "1.0"))
    entries = [zip_entry(path, data) for path, data in members.items()]
    return raw_zip([*entries, entries[0]])


HOSTILE = {
    "bomb": (_changed({"widget/zeros.bin": bytes(100 << 20)}), "more than 50 times"),
    "parent": (_changed({"../evil.py": b""}), "'../evil.py'"),
    "absolute": (_changed({"/etc/evil": b""}), "'/etc/evil'"),
    "backslash": (_changed({"a\\..\\evil": b""}), "evil"),
    "twice": (_twice(), "widget/__init__.py"),
    "case": (_changed({"Widget/__INIT__.py": b""}), "__INIT__.py"),
    "no-record": (zip_of(wheel_members("widget", "1.0")), "no RECORD"),
    "no-metadata": (zip_of({f"{INFO}/WHEEL": b"Wheel-Version: 1.0", f"{INFO}/RECORD": b""}), "no METADATA"),
    "two-infos": (_changed({"gadget-1.0.dist-info/METADATA": b""}), "several dist-info folders"),
    "not-recorded": (zip_of({**wheel_members("widget", "1.0"), f"{INFO}/RECORD": b""}), "RECORD does not list"),
    "entry-points": (_changed({f"{INFO}/entry_points.txt": b"[console_scripts]\n../x = a:b\n"}), "'../x'"),
    "other-name": (make_wheel("widget", "1.0", project=Project("gadget", "1.0")), "of the project 'gadget'"),
    "other-version": (make_wheel("widget", "1.0", project=Project("widget", "1.1")), "of version '1.1'"),
    "requires-python": (make_wheel("widget", "1.0", requires_python="three"), "requires-python"),
    "licence": (
        make_wheel("widget", "1.0", project=Project("widget", "1.0", "2.4", lines=["License-File: LICENSE"])),
        "'LICENSE' of METADATA is not in",
    ),
}
"""Files that peers take, and the words that refuse them here (contract python-index section 8)."""


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_wheel_is_refused_in_words(uploader: Uploader, kind: str) -> None:
    """400 as text/plain, the file's name first, what is wrong with it after; nothing is kept."""
    content, words = HOSTILE[kind]
    answer = await uploader.post(WHEEL, content)
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.startswith(f"{WHEEL}: ")
    assert words in answer.text
    assert answer.text.isascii()
    assert (await uploader.files(), uploader.left_behind()) == (0, [])


async def test_a_source_archive_with_a_way_out_is_refused(uploader: Uploader) -> None:
    """Links that leave the top folder and members above it are told apart from the rest, all at once."""
    top = "widget-1.0"
    content = raw_tar_gz(
        [
            TarEntry(f"{top}/PKG-INFO", Project("widget", "1.0").to_bytes()),
            TarEntry(f"{top}/../../evil", b""),
            TarEntry(f"{top}/link", kind=b"2", link="../../etc/passwd"),
        ]
    )
    answer = await uploader.post("widget-1.0.tar.gz", content)
    assert answer.status_code == 400
    assert "evil" in answer.text
    assert "link" in answer.text
    assert uploader.left_behind() == []


async def test_every_fault_is_told_at_once(uploader: Uploader) -> None:
    """One answer is enough to mend the whole file."""
    metadata = Project("gadget", "2", requires_python="three", summary="x" * 513).to_bytes()
    answer = await uploader.post(WHEEL, _changed({f"{INFO}/METADATA": metadata, "../evil": b""}))
    assert answer.status_code == 400
    for words in ("'../evil'", "'gadget'", "version '2'", "requires-python", "longer than 512"):
        assert words in answer.text


def _form(content: bytes, **fields: str) -> dict[str, str]:
    digest = {"sha256_digest": hashlib.sha256(content).hexdigest()}
    return {":action": "file_upload", "protocol_version": "1", "name": "widget", "version": "1.0"} | digest | fields


async def test_the_forms_of_other_uploaders_are_understood(uploader: Uploader) -> None:
    """hatch's singular import names, flit without pyversion for a source archive, maturin with sha256 alone."""
    wheel = make_wheel("widget", "1.0", project=Project("widget", "1.0", "2.5", lines=["Import-Name: widget"]))
    hatch = _form(wheel, metadata_version="2.5", filetype="bdist_wheel", pyversion="py3", import_name="widget")
    assert (await uploader.post(WHEEL, wheel, fields=hatch | {"import_namespace": "wid"})).status_code == 200
    sdist = make_sdist("widget", "1.0")
    flit = _form(sdist, metadata_version="2.1", filetype="sdist", md5_digest=hashlib.md5(sdist).hexdigest())
    assert (await uploader.post("widget-1.0.tar.gz", sdist, fields=flit)).status_code == 200
    name = "widget-1.0-cp311-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
    native = make_wheel("widget", "1.0", requires_dist=["a>1"], tag="cp311-abi3-manylinux_2_17_x86_64")
    maturin = _form(native, metadata_version="2.4", filetype="bdist_wheel", pyversion="cp311", requires_python="")
    assert (await uploader.post(name, native, fields=maturin)).status_code == 200
    assert await uploader.files() == 3


async def test_names_that_normalise_alike_are_one_project(uploader: Uploader) -> None:
    """The form may spell the name as people do; another spelling is no other project."""
    for version, spelling in (("1.0", "My.Widget"), ("1.1", "my__widget"), ("1.2", "MY-WIDGET")):
        file_name = f"my_widget-{version}-py3-none-any.whl"
        content = make_wheel("my-widget", version, project=Project(spelling, version))
        fields = form_fields(file_name, content) | {"name": spelling}
        assert (await uploader.post(file_name, content, fields=fields)).status_code == 200
    page = (await uploader.http.get("/api/v1/indexes/root/stable/projects")).json()
    assert [(item["name"], item["releases"]) for item in page["items"]] == [("my-widget", 3)]


@pytest.mark.parametrize("tag", ["py3-none-plan9", "cp311-cp311-manylinux_2_17_vax", "cp311-cp311-any.solaris"])
async def test_a_wheel_for_an_unknown_platform_is_refused(uploader: Uploader, tag: str) -> None:
    """No installer would ever choose it."""
    file_name = f"widget-1.0-{tag}.whl"
    answer = await uploader.post(file_name, make_wheel("widget", "1.0", tag=tag))
    assert answer.status_code == 400
    assert "No installer looks for wheels of the platform" in answer.text


async def test_what_is_odd_but_admitted_is_told(uploader: Uploader) -> None:
    """Unknown and deprecated classifiers and a confusable name are lines below the answer; private ones are not."""
    lines = ["Classifier: Made :: Up", "Classifier: Natural Language :: Ukranian", "Classifier: Private :: Ours"]
    first = await uploader.post(WHEEL, make_wheel("widget", "1.0", project=Project("widget", "1.0", lines=lines)))
    assert first.status_code == 200
    told = first.text.partition("\n")[2]
    assert told == (
        "Warning: METADATA: the classifier 'Made :: Up' is not a known one.\n"
        "Warning: METADATA: the classifier 'Natural Language :: Ukranian' is deprecated; "
        "use 'Natural Language :: Ukrainian'.\n"
    )
    second = await uploader.post("w1dget-1.0-py3-none-any.whl", make_wheel("w1dget", "1.0"))
    assert "Warning: The name w1dget looks like that of the project widget, which is there already." in second.text
    again = await uploader.post("w1dget-1.1-py3-none-any.whl", make_wheel("w1dget", "1.1"))
    assert (again.status_code, "Warning" in again.text) == (200, False), "said once, to whoever made the project"
    third = await uploader.post("asyncio-1.0-py3-none-any.whl", make_wheel("asyncio", "1.0"))
    assert "Warning: asyncio is the name of a module of Python's standard library." in third.text


async def test_a_description_that_does_not_render_is_told_and_stays_told(uploader: Uploader) -> None:
    """The file is taken; the answer says which line is wrong, and so does the release afterwards."""
    broken = Project("widget", "1.0", lines=["Description-Content-Type: text/x-rst"], description="See `here\n")
    answer = await uploader.post(WHEEL, make_wheel("widget", "1.0", project=broken))
    words = (
        "METADATA: the description does not render as reStructuredText: line 1: Inline interpreted text or phrase "
        "reference start-string without end-string. It is shown as plain text."
    )
    assert (answer.status_code, answer.text.partition("\n")[2]) == (200, f"Warning: {words}\n")
    assert await _warnings(uploader, "1.0") == [words]
    fine = Project("widget", "1.1", lines=["Description-Content-Type: text/markdown"], description="See `here\n")
    answer = await uploader.post("widget-1.1-py3-none-any.whl", make_wheel("widget", "1.1", project=fine))
    assert (answer.status_code, "Warning" in answer.text) == (200, False)
    assert await _warnings(uploader, "1.1") == []


async def _warnings(uploader: Uploader, version: str) -> list[str]:
    """Return what the API says of the one file of a release."""
    release = (await uploader.http.get(f"/api/v1/indexes/root/stable/projects/widget/releases/{version}")).json()
    [file] = release["files"]
    warnings: list[str] = file["warnings"]
    return warnings


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("version", "9" * 5000, "The field version is 999"),
        ("requires_python", ">=" + "9" * 5000, "The field requires_python is >=999"),
        ("requires_python", ">=3," * 3000, "The field requires_python is longer than 8192 characters"),
        ("requires_dist", "a; " + "(" * 5000 + "x", "The field requires_dist differs"),
        ("requires_dist", "a" * 9000, "The field requires_dist is longer than 8192 characters"),
        ("attestations", "[]", "Invalid attestations supplied during upload"),
        ("attestations", '[{"version": 1}]', "Invalid attestations supplied during upload"),
    ],
)
async def test_a_field_that_cannot_be_is_refused_in_words(
    uploader: Uploader, field: str, value: str, words: str
) -> None:
    """Numbers, nesting and lengths that parsers stumble over are the client's fault; nothing is dropped in silence."""
    content = make_wheel("widget", "1.0", requires_python=">=3.11")
    answer = await uploader.post(WHEEL, content, fields=form_fields(WHEEL, content) | {field: value})
    assert (answer.status_code, words in answer.text) == (400, True), answer.text[:300]
    assert (await uploader.files(), uploader.left_behind()) == (0, [])


async def test_an_empty_field_of_attestations_is_none(uploader: Uploader) -> None:
    """Clients that always send the field say nothing with it."""
    content = make_wheel("widget", "1.0")
    fields = form_fields(WHEEL, content) | {"attestations": ""}
    assert (await uploader.post(WHEEL, content, fields=fields)).status_code == 200


async def test_a_python_that_no_installer_can_compare_is_refused(uploader: Uploader) -> None:
    """pip evaluates `requires-python` of every listed file: one that it stumbles over would hide the whole project."""
    answer = await uploader.post(WHEEL, make_wheel("widget", "1.0", requires_python=">=" + "9" * 5000))
    assert answer.status_code == 400
    assert "requires-python" in answer.text.lower()


HIDDEN = b"import base64\nexec(base64.b64decode('cHJpbnQoKQ=='))\n"


async def test_hidden_code_is_told_and_stays_told(uploader: Uploader) -> None:
    """The file is taken: a finding is advice, in the answer and beside the file."""
    answer = await uploader.post(WHEEL, _changed({"widget/run.py": HIDDEN, "evil.pth": b"import os; " + HIDDEN[14:]}))
    about = "it decodes a text and executes what comes out"
    words = [f"scan: '{name}' looks like hidden code (executes_decoded_text): {about}." for name in _HIDING]
    assert (answer.status_code, answer.text.splitlines()[1:]) == (200, [f"Warning: {word}" for word in words])
    assert await _warnings(uploader, "1.0") == words


_HIDING = ("widget/run.py", "evil.pth")


@pytest.mark.parametrize(("scan", "status"), [("refuse", 400), ("off", 200)])
async def test_the_operator_decides_about_hidden_code(
    engine: AsyncEngine, tmp_path: Path, scan: Scan, status: int
) -> None:
    """It can be refused in words, with nothing kept, or not be looked for."""
    async with open_uploader(engine, tmp_path, scan=scan) as uploader:
        answer = await uploader.post(WHEEL, _changed({"widget/run.py": HIDDEN}))
        assert (answer.status_code, "executes_decoded_text" in answer.text) == (status, scan == "refuse")
        assert await uploader.files() == (1 if scan == "off" else 0)


async def test_a_store_that_fails_is_answered_with_when_to_come_back(uploader: Uploader) -> None:
    """503 says so to every client that reads `Retry-After`; nothing is kept."""
    side = uploader.resources.settings.data / "public"
    shutil.rmtree(side, ignore_errors=True)
    side.write_bytes(b"no folder")
    answer = await uploader.post(WHEEL, make_wheel("widget", "1.0"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert (await uploader.files(), uploader.left_behind()) == (0, [])
