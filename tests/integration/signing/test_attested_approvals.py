"""An approval is over a pointer, and a pointer names an attestation: what was approved is what is signed."""

from __future__ import annotations

from sqlalchemy import select

from countermark.core.digest import sha256_of
from countermark.core.names import FileName, NormalizedName
from countermark.core.pointer import parse_pointer
from services.signing.ceremonies.own_trust import set_trust_targets
from shared.catalogue.tables import File
from shared.ids import FileId, ProjectId
from tests.support.approving import WHEEL, Desk
from tests.support.archives import make_wheel
from tests.support.attesting import attest
from tests.support.builds import Forge, body, policy
from tests.support.factories import MadeFile
from tests.support.tuf_reader import TreeReader

CONTENT = make_wheel("widget", "1.0")
OPEN = policy("nothing-else")


async def uploaded(desk: Desk, forge: Forge) -> MadeFile:
    """Upload a file, with trust signing the forge's root, and return it as tests have files."""
    root = {"trusted_root.json": forge.instance.trusted_root(), "trust/policy.yaml": OPEN}
    await set_trust_targets(desk.resources, root, (), "a test")
    assert (await desk.upload(WHEEL, CONTENT)).status_code == 200
    async with desk.resources.engine.connect() as connection:
        row = (await connection.execute(select(File.id, File.project_id))).one()
    name, sha256 = FileName(WHEEL), sha256_of(CONTENT)
    return MadeFile(
        FileId(row.id), ProjectId(row.project_id), NormalizedName("widget"), "1.0", name, sha256, CONTENT, None
    )


def pointer(desk: Desk, read: int) -> str | None:
    """Return the digest of the attestation that the signed pointer names, as a new client gets it."""
    tree = desk.resources.settings.data / "public" / "indexes" / "root" / "stable"
    reader = TreeReader(tree, desk.resources.settings.data / f"cache{read}")
    found = parse_pointer(reader.target(f"pointers/widget/{WHEEL}.pointer") or b"").attestation
    return None if found is None else found.digest


async def test_an_attestation_of_a_file_that_waits_is_asked_about_anew(desk: Desk) -> None:
    """Who approved the pointer without it approves again; what is signed is the pointer that names it."""
    forge = Forge()
    file = await uploaded(desk, forge)
    await desk.sign()
    (item,) = await desk.waiting()
    await desk.approve("alice", item["id"])
    bundle = body(forge.built(WHEEL, CONTENT))
    sha256 = await attest(desk.resources, desk.index, file, bundle, forge.material(OPEN))
    answer = await desk.approve("bob", item["id"])
    assert (answer.status_code, "asked about anew within seconds" in answer.text) == (409, True)
    await desk.sign()
    (item,) = await desk.waiting()
    assert (item["given"], await desk.visible()) == (0, 0), "what was approved of another pointer counts no more"
    await desk.approve("bob", item["id"])
    assert (await desk.approve("alice", item["id"])).json()["state"] == "approved"
    await desk.sign()
    assert (await desk.visible(), pointer(desk, 1)) == (1, sha256)


async def test_the_pointer_of_an_approved_file_stays(desk: Desk) -> None:
    """A later attestation is told why it is not named; the file stays as it was approved, in quarantine and out."""
    forge = Forge()
    file = await uploaded(desk, forge)
    await desk.sign()
    (item,) = await desk.waiting()
    for who in ("alice", "bob"):
        await desk.approve(who, item["id"])
    await desk.sign()
    bundle = body(forge.built(WHEEL, CONTENT))
    await attest(desk.resources, desk.index, file, bundle, forge.material(OPEN))
    await desk.sign()
    assert (await desk.visible(), pointer(desk, 1)) == (1, None)
    dead = (await desk.call(None, "GET", f"/files/{item['id']}")).json()
    assert dead["state"] == "published"
    for status in ("quarantined", "active"):
        await desk.call("root", "PATCH", "projects/widget", {"status": status})
        await desk.sign()
    assert (await desk.visible(), pointer(desk, 2)) == (1, None)
