"""From an upload with its attestations to a file that is proven, online and offline; then everything is tampered with.

Against a deployment whose key holders signed a root and a policy: nothing is forged but what a case says.
Source: trust contract sections 3.3 and 6 (10, 16); architecture section 11.8.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shared.catalogue.trust_material import POLICY
from tests.support.archives import make_wheel
from tests.support.builds import OPEN_RULE, Forge, policy
from tests.support.processes import Deployment, program, run
from tests.support.sigstore.instance import PUBLISH, statement
from tests.support.trusting import Holders, demanding_builds
from tests.support.uploading import form_fields
from tests.support.waiting import until

WHEEL, FREE = "widget-1.0-py3-none-any.whl", "free-1.0-py3-none-any.whl"
PUBLISHED, LISTED = "pub-1.0-py3-none-any.whl", "pub-2.0-py3-none-any.whl"
"""Wheels that nobody attests the build of: one has a PEP 740 object, the other a bundle that fits into none."""

pytestmark = pytest.mark.embedded

PUBLISHING = f"""
  - match: "pub"
    builders: ["release"]
    source: "https://github.com/acme/thing"
    predicates: ["{PUBLISH}"]
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A deployment that demands build provenance of `widget`, and has one release of it."""

    deployment: Deployment
    forge: Forge
    home: Path

    def countermark(self, *arguments: str | Path, code: int = 0) -> str:
        """Run the client, and return what it printed to both streams."""
        environment = {"COUNTERMARK_HOME": str(self.home), "COLUMNS": "1000"}
        done = run(program("countermark"), *map(str, arguments), environment=environment)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    def codes(self, dest: Path, code: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the client tells machines of the wheel, read from the bare tree, and what the server does."""
        tree = self.deployment.tree / "indexes" / "root" / "stable"
        asked = ("download", "widget==1.0", "--repository", tree, "--dest", dest, "--json")
        said = [json.loads(line) for line in self.countermark(*asked, code=code).splitlines() if line.startswith("{")]
        [failure] = [one for one in said if not one["ok"] and "code" in one]
        return failure, self.found()

    def found(self) -> dict[str, Any]:
        """Return what the server finds of the wheel's chain."""
        answer = httpx2.get(f"{self.deployment.api}/api/v1/verify/root/stable/widget/1.0/{WHEEL}", timeout=60)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def stored(self, suffix: str) -> Path:
        """Return where the store has the wheel, or what is named after it."""
        (found,) = self.deployment.tree.glob(f"files/*/*/{WHEEL}{suffix}")
        return found


def _upload(deployment: Deployment, name: str, content: bytes, attestations: list[Any]) -> None:
    fields = form_fields(name, content)
    if attestations:
        fields["attestations"] = json.dumps(attestations)
    answer = httpx2.post(
        f"{deployment.api}/root/stable/",
        data=fields,
        files={"content": (name, content)},
        auth=("__token__", deployment.token()),
        timeout=60,
    )
    assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The deployment after the ceremony of trust and two uploads; its root is pinned."""
    with demanding_builds(policy(rest=PUBLISHING + OPEN_RULE)) as (running, forge, home):
        wheel = make_wheel("widget", "1.0")
        _upload(running, WHEEL, wheel, [forge.build_attestation(WHEEL, wheel)])
        _upload(running, FREE, make_wheel("free", "1.0"), [])
        first, second = make_wheel("pub", "1.0"), make_wheel("pub", "2.0")
        _upload(running, PUBLISHED, first, [forge.publish_attestation(PUBLISHED, first)])
        signed_v2 = forge.instance.sign(statement(LISTED, second, PUBLISH), forge.claims, log="v2")
        _upload(running, LISTED, second, [signed_v2])
        made = Site(running, forge, home.parent / "home")
        for address in (f"{running.api}/root/stable", running.tree / "indexes" / "root" / "stable"):
            made.countermark("root", "pin", address, home / "1.root.json")
        yield made


def test_the_whole_chain_holds(site: Site, tmp_path: Path) -> None:
    """The pointer names the build provenance, and the client proves all 13 links; of what needs none, seven."""
    url = f"{site.deployment.api}/root/stable"
    said = site.countermark("download", "widget", "--repository", url, "--dest", tmp_path, "--json")
    steps = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    links = {step["number"]: step for step in steps if "number" in step}
    assert sorted(links) == list(range(1, 14))
    assert links[13]["source"] == "https://github.com/acme/thing"
    assert links[13]["builder"] == "release"
    said = site.countermark("download", "free", "--repository", url, "--dest", tmp_path)
    assert "no attestation is demanded" in said


def test_evidence_proves_it_again_without_the_registry(site: Site, tmp_path: Path) -> None:
    """What a download wrote down is enough, from the pinned root."""
    url, evidence = f"{site.deployment.api}/root/stable", tmp_path / "evidence"
    dest = tmp_path / "dest"
    site.countermark("download", "widget", "free", "--repository", url, "--dest", dest, "--evidence", evidence)
    files = (dest / WHEEL, dest / FREE)
    said = site.countermark("verify", *files, "--offline", "--evidence", evidence)
    assert "1 file(s) proven: metadata, pointer, digest, attestation and policy" in said
    (dest / WHEEL).write_bytes(b"x")
    assert "(digest) failed" in site.countermark("verify", *files, "--offline", "--evidence", evidence, code=40)


@pytest.mark.parametrize(("suffix", "code", "link"), [("", 41, "digest"), (".sigstore.json", 50, "attestation digest")])
def test_one_byte_changed_in_the_store(suffix: str, code: int, link: str, site: Site, tmp_path: Path) -> None:
    """Of the file or of its attestation: whoever reads the store without the registry in front of it notices."""
    tree = site.deployment.tree / "indexes" / "root" / "stable"
    path = site.stored(suffix)
    whole = path.read_bytes()
    asked = ("download", "widget", "--repository", tree, "--dest", tmp_path / "dest")
    path.chmod(0o644)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        assert f"({link}) failed" in site.countermark(*asked, code=code)
        assert not any((tmp_path / "dest").iterdir())
    finally:
        path.write_bytes(whole)
    site.countermark(*asked)
    assert os.listdir(tmp_path / "dest") == [WHEEL]


def _flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


TAMPERED = [
    ("files/*/*/{wheel}", _flipped, "wrong-digest", 41),
    ("files/*/*/{wheel}", lambda content: content[:-1], "wrong-length", 40),
    ("files/*/*/{wheel}.sigstore.json", _flipped, "attestation-altered", 50),
    ("indexes/root/stable/targets/pointers/widget/*.{wheel}.pointer", _flipped, "invalid-metadata", 23),
    ("files/*/*/{wheel}", lambda _: None, "network-failure", 10),
]
"""Which object is tampered with, how (None removes it), and what client and server call that."""


@pytest.mark.parametrize(("path", "change", "code", "exit_code"), TAMPERED, ids=lambda one: str(one)[-30:])
def test_client_and_server_tell_the_same_code(
    path: str, change: Callable[[bytes], bytes | None], code: str, exit_code: int, site: Site, tmp_path: Path
) -> None:
    """Of every file that was tampered with, whatever was: at the same link, for machines as for people."""
    (object_,) = site.deployment.tree.glob(path.format(wheel=WHEEL))
    whole = object_.read_bytes()
    object_.chmod(0o644)
    changed = change(whole)
    if changed is None:
        object_.unlink()
    else:
        object_.write_bytes(changed)
    try:
        told, found = site.codes(tmp_path / "dest", exit_code)
    finally:
        object_.write_bytes(whole)
    assert (told["code"], told["exit"]) == (code, exit_code)
    assert (found["code"], found["exit_code"]) == (code, exit_code), found["reason"]
    [step] = [step for step in found["steps"] if step["code"] is not None]
    assert (step["number"], step["code"]) == (told["number"], code)


def test_what_no_pointer_names(site: Site, tmp_path: Path) -> None:
    """Publish attestations satisfy the policy that asks for them: at the registry, in its bare tree, in a copy of that,
    and for the verify service; who has the tree without them is refused, until it is laid again."""
    api, tree = site.deployment.api, site.deployment.tree / "indexes" / "root" / "stable"
    laid = [tree / f"attestations/pub/{PUBLISHED}.provenance.json", tree / f"attestations/pub/{LISTED}.bundles.json"]
    until("both documents are laid", lambda: all(path.is_file() for path in laid))
    copied = site.deployment.command("tree", "copy", "root/stable", str(tmp_path / "copy"))
    assert copied.returncode == 0, copied.stderr
    copy = tmp_path / "copy" / "indexes" / "root" / "stable"
    site.countermark("root", "pin", copy, site.home.parent / "holders" / "1.root.json")
    for where in (f"{api}/root/stable", tree, copy):
        for version, name in (("1.0", PUBLISHED), ("2.0", LISTED)):
            asked = ("download", f"pub=={version}", "--repository", where, "--dest", tmp_path / "dest", "--json")
            said = [json.loads(line) for line in site.countermark(*asked).splitlines() if line.startswith("{")]
            found = {step["step"]: step for step in said}
            assert found["policy"]["attested"], name
            assert found["further"]["verified"] == 1
    for path, version in zip(laid, ("1.0", "2.0"), strict=True):
        address = f"{api}/root/stable/+tuf/attestations/pub/{path.name}"
        assert httpx2.get(address).content == path.read_bytes()
        name = path.name.removesuffix(".provenance.json").removesuffix(".bundles.json")
        verified = httpx2.get(f"{api}/api/v1/verify/root/stable/pub/{version}/{name}", timeout=60).json()
        assert (verified["exit_code"], verified["verified"]) == (0, True), verified["reason"]
    whole = laid[0].read_bytes()
    laid[0].unlink()
    alone = ("download", "pub==1.0", "--repository", tree, "--dest", tmp_path / "other")
    assert "demands an attestation of type" in site.countermark(*alone, code=62)
    assert site.deployment.command("rebuild", "root/stable").returncode == 0
    assert laid[0].read_bytes() == whole
    site.countermark(*alone)


def _is_told(site: Site, code: str) -> bool:
    return bool(site.found()["code"] == code)


def test_a_stricter_policy_has_the_same_code(site: Site, tmp_path: Path) -> None:
    """What a new policy compares and does not find is told by client and server in one word."""
    holders = Holders(site.deployment, site.home.parent / "holders")
    file = holders.home / "policy.yaml"
    cases = {"policy.level": policy(more="    min_level: 3\n"), "policy.workflow-ref": policy(refs="refs/heads/x")}
    for code, demanded in cases.items():
        file.write_bytes(demanded)
        holders.sign({POLICY: file}, reason="stricter")
        failed = 60 if code == "policy.workflow-ref" else 62
        until(f"the index is published with what is {code}", partial(_is_told, site, code))
        told, found = site.codes(tmp_path / "dest", failed)
        assert (told["code"], told["exit"], told["number"]) == (code, failed, 13 if failed == 62 else 11)
        assert (found["code"], found["exit_code"]) == (code, failed), found["reason"]
