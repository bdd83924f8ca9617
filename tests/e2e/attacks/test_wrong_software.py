"""Rows 1, 8, 9 and 31: other bytes, other software and other indexes in the place of what was asked for."""

from __future__ import annotations

import json

import pytest
from securesystemslib.signer import CryptoSigner

from tests.e2e.attacks.conftest import Scene
from tests.e2e.attacks.names import GADGET, INDEX, LATEST, OTHER, PAGE, WHEEL, WIDGET
from tests.support.tampering.answers import flipped, replaced
from tests.support.tampering.table import Case, attacks

pytestmark = pytest.mark.embedded


@attacks(
    1,
    Case("the file's bytes swapped", 41, "artifact: ", "artifact"),
    Case("the pointer's", 23, "does not match", "pointer"),
)
def test_row_01_swapped_bytes(case: Case, scene: Scene) -> None:
    """Bytes of the right length that are not those that were signed are refused."""
    scene.server.on(scene.path(case.given), flipped)
    scene.ends(case, scene.client.get("widget==1.10"))


@attacks(1, Case("the bin signed anew with a foreign key, other pointers in it", 20, "was signed by 0/1 keys"))
def test_row_01_foreign_signature(case: Case, scene: Scene) -> None:
    """Metadata that nobody of the trusted root signed is refused, by the command as its user runs it."""
    evil = scene.forger.target(WIDGET).replace(b'version: "1.10"', b'version: "1.11"')
    scene.forger.keys["bins"] = [CryptoSigner.generate_ed25519()]
    scene.forger.publish({WIDGET: evil})
    scene.ends(case, scene.client.run("widget==1.10"))


def _other(scene: Scene, target: str) -> bytes:
    """Return a target of the other index, which the same keys signed."""
    reading = type(scene.forger)(lambda name: scene.site.read(name, OTHER), scene.forger.keys)
    return reading.target(target)


@attacks(
    8, Case("the signed pointer of another project below the path of the one asked for", 31, "is signed for project")
)
def test_row_08_pointer_of_another_project(case: Case, scene: Scene) -> None:
    """Who holds the bins' key cannot pass off one project's file as another's."""
    scene.forger.publish({WIDGET: scene.forger.target(f"pointers/gadget/{GADGET}.pointer")})
    scene.ends(case, scene.client.get("widget", "--file", WHEEL))


@attacks(
    8,
    Case("a pointer whose name is altered", 31, "project 'gadget'", (b'name: "widget"', b'name: "gadget"')),
    Case("a pointer whose version is altered", 31, "version '1.11'", (b'version: "1.10"', b'version: "1.11"')),
    Case("a pointer that names the file of another version", 31, "target path", (b"/widget-1.10-", b"/widget-1.9-")),
    Case("a pointer that names an sdist", 31, "target path", (b"widget-1.10-py3-none-any.whl", b"widget-1.10.tar.gz")),
)
def test_row_08_altered_pointer(case: Case, scene: Scene) -> None:
    """A signed pointer that differs from what was asked in one field is refused."""
    before, after = case.given
    pointer = scene.forger.target(WIDGET)
    assert before in pointer
    scene.forger.publish({WIDGET: pointer.replace(before, after)})
    scene.ends(case, scene.client.get("widget", "--file", WHEEL))


@attacks(8, Case("a page that states another digest than the pointer", 31, "state different digests"))
def test_row_08_page_and_pointer_disagree(case: Case, scene: Scene) -> None:
    """Page and pointer are both signed, and must say the same."""
    page = json.loads(scene.forger.target(PAGE))
    for file in page["files"]:
        file["hashes"]["sha256"] = "0" * 64
    scene.forger.publish({PAGE: json.dumps(page).encode()})
    scene.ends(case, scene.client.get("widget==1.10"))


@attacks(
    8,
    Case("`_latest` of another project", 31, "project 'gadget'", "pointers/gadget/_latest.pointer"),
    Case("`_latest` with another version than its file's", 31, "version '9'", ""),
    Case("the page document of another project", 31, "project 'gadget'", "pointers/gadget/_simple.json"),
)
def test_row_08_documents_of_another_project(case: Case, scene: Scene) -> None:
    """Page and `_latest` are bound to the project, and `_latest` to its file."""
    if case.given.endswith("_simple.json"):
        scene.forger.publish({PAGE: scene.forger.target(case.given)})
        scene.ends(case, scene.client.get("widget==1.10"))
        return
    mine = scene.forger.target(LATEST).replace(b'version: "1.10"', b'version: "9"')
    scene.forger.publish({LATEST: scene.forger.target(case.given) if case.given else mine})
    scene.ends(case, scene.client.get("widget"))


@attacks(9, Case("the signed page lists a file that no target names", 11, "lists no pointers/widget/widget-6.6"))
def test_row_09_extraneous_file(case: Case, scene: Scene) -> None:
    """A file that is listed and has no pointer is not to be had."""
    page = json.loads(scene.forger.target(PAGE))
    evil = json.loads(json.dumps(page["files"][0]).replace("1.10", "6.6").replace("1.9", "6.6"))
    page["files"].append(evil)
    page["versions"].append("6.6")
    scene.forger.publish({PAGE: json.dumps(page).encode()})
    scene.ends(case, scene.client.get("widget==6.6"))


@attacks(
    31,
    Case("another index's whole tree, asked by version", 31, OTHER, ("widget==1.10",)),
    Case("another index's whole tree, asked for the latest", 31, OTHER, ("widget",)),
    Case("another index's whole tree, asked by file", 31, OTHER, ("widget", "--file", WHEEL)),
)
def test_row_31_tree_of_another_index(case: Case, scene: Scene) -> None:
    """What the same keys signed for another index is not taken for this one, by each way in."""
    honest = scene.server.honest
    scene.server.honest = lambda path, headers: honest(path.replace(INDEX, OTHER, 1), headers)
    scene.ends(case, scene.client.get(*case.given))


@attacks(
    31,
    Case("another index's page document", 31, f"index '{OTHER}'", (PAGE, ("widget==1.10",))),
    Case("another index's `_latest`", 31, f"index '{OTHER}'", (LATEST, ("widget",))),
    Case("another index's pointer", 31, f"index '{OTHER}'", (WIDGET, ("widget", "--file", WHEEL))),
)
def test_row_31_documents_of_another_index(case: Case, scene: Scene) -> None:
    """Each document is bound to its index by itself, also where the bins' key signs it into this one."""
    target, arguments = case.given
    scene.forger.publish({target: _other(scene, target)})
    scene.ends(case, scene.client.get(*arguments))


@attacks(31, Case("another index's tree, its snapshot not naming its index", 31, f"index '{OTHER}'"))
def test_row_31_snapshot_without_a_name(case: Case, scene: Scene) -> None:
    """Where the snapshot does not say whose it is, the page does."""
    forger = type(scene.forger)(lambda name: scene.site.read(name, OTHER), scene.forger.keys)
    snapshot = forger.signed("snapshot")
    snapshot.unrecognized_fields.clear()
    forger.put("snapshot", snapshot)
    forger.put_timestamp()
    honest = scene.server.honest
    scene.server.honest = lambda path, headers: honest(path.replace(INDEX, OTHER, 1), headers)
    for name, data in forger.files.items():
        scene.server.on(f"{scene.tuf}{name}", replaced(data))
    scene.ends(case, scene.client.get("widget==1.10"))


def test_the_honest_registry_is_proven(scene: Scene) -> None:
    """Through the server that tampers with nothing, the file arrives: what the rows see is the attack."""
    ended = scene.client.run("widget==1.10")
    assert (ended.code, ended.placed) == (0, (WHEEL,)), ended.words
    scene.forger.publish({WIDGET: scene.forger.target(WIDGET)})
    ended = scene.client.get("widget", "--file", WHEEL)
    assert ended.code == 0, "what all genuine keys sign anew is accepted"
