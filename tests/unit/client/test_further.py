"""Attestations that no pointer names: looked for where the policy needs them, and believed only if they verify."""

from __future__ import annotations

import hashlib
import json
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from pypi_attestations import AttestationType

from countermark import further
from countermark.core.attestations.provenance import EMPTY_OBJECT, MAX_BYTES
from shared.reading.provenance import bundle_list, provenance_object
from tests.support.builds import Pipeline, body
from tests.support.sigstore.instance import Instance, pep740, statement
from tests.support.simulator import Deployment, RepositorySimulator
from tests.unit.client.conftest import WHEEL, Run
from tests.unit.client.loopback import Loopback, reply

REAL = b"the real wheel\n"
PUBLISH = AttestationType.PYPI_PUBLISH_V1.value
PUBLISHER = {"kind": "GitHub", "repository": "acme/widget", "workflow": "release.yml", "environment": None}
POLICY_OF_PUBLISHING = f'    predicates: ["{PUBLISH}"]\n'


class Shop:
    """A served index whose policy takes a wheel by who published it."""

    def __init__(self, run: Run, server: Loopback, folder: Path, policy: bytes | None = None) -> None:
        self.run, self.server, self.folder = run, server, folder
        self.dest = folder / "dest"
        self.pipeline, self.deployment = Pipeline(), Deployment()
        demanding = self.pipeline.policy(more=POLICY_OF_PUBLISHING).replace(b"    min_level: 3\n", b"")
        self.deployment.trust_targets |= self.pipeline.trusted(policy or demanding)
        self.sim = RepositorySimulator("root/attested", self.deployment)
        self.sim.add_file(WHEEL, REAL)
        self.publish()
        root = folder / "root.json"
        root.write_bytes(self.deployment.roots[0])
        for url in (self.url, self.tree):
            assert run("root", "pin", url, root).exit_code == 0

    def publish(self) -> None:
        """Publish, and serve the index and its tree."""
        self.sim.publish()
        self.url, self.tree = self.server.serve_index(self.sim), self.server.serve_tree(self.sim)

    def published(self, version: str = "1.10", content: bytes = REAL, **how: Any) -> dict[str, Any]:
        """Return a bundle that says who published the wheel."""
        claims = self.pipeline.claims(version, **how.pop("claims", {}))
        return self.pipeline.instance.sign(statement(WHEEL, content, PUBLISH), claims, **how)

    def lay(self, *bundles: dict[str, Any]) -> None:
        """Lay the provenance object that holds bundles."""
        self.serve(further.OBJECT, provenance_object([(PUBLISHER, pep740(bundle)) for bundle in bundles]))

    def list_(self, *bundles: bytes) -> None:
        """Lay bundles, and the list of them."""
        lines = []
        for bundle in bundles:
            digest = hashlib.sha256(bundle).hexdigest()
            key = f"files/{digest[:2]}/{digest[2:]}/{WHEEL}.sigstore.json"
            self.server.paths[f"/{self.sim.index}/+tuf/{key}"] = self.server.paths[f"/{key}"] = bundle
            lines.append((key, digest, len(bundle), PUBLISH))
        self.serve(further.LIST, bundle_list(lines))

    def serve(self, ending: str, answer: Any) -> None:
        """Answer for one of the two documents, below the index and in the tree."""
        for place in (f"/{self.sim.index}/+tuf", f"/indexes/{self.sim.index}"):
            self.server.paths[f"{place}/attestations/widget/{WHEEL}{ending}"] = answer

    def get(self, *arguments: str | Path, where: str = "") -> Any:
        """Download."""
        return self.run("download", "widget==1.10", *arguments, "--repository", where or self.url, "--dest", self.dest)

    def asked(self) -> list[str]:
        """Return what was asked of attestations so far."""
        return [path for path, _ in self.server.seen if "/attestations/" in path or path.endswith(".sigstore.json")]


@pytest.fixture
def shop(run: Run, server: Loopback, tmp_path: Path) -> Shop:
    """The index."""
    return Shop(run, server, tmp_path)


def steps(output: str) -> dict[str, dict[str, Any]]:
    """Return the steps of a run by name."""
    return {step["step"]: step for step in map(json.loads, output.splitlines())}


def test_what_a_tree_has_in_the_place_of_no_object_is_known() -> None:
    """The server's empty object is the one that the client takes for none."""
    assert provenance_object(()) == EMPTY_OBJECT


@pytest.mark.parametrize("is_tree", [False, True])
def test_who_published_it_satisfies_the_policy(shop: Shop, is_tree: bool) -> None:
    """The object of a file whose pointer names nothing: from the registry and from a bare tree."""
    shop.lay(shop.published())
    done = shop.get("--json", where=shop.tree if is_tree else shop.url)
    assert done.exit_code == 0, done.output
    found = steps(done.stdout)
    assert (found["further"]["found"], found["further"]["verified"]) == (1, 1)
    assert "number" not in found["further"]
    assert found["statement"]["predicate"] == PUBLISH
    assert found["statement"]["attestation"] == found["further"]["bundles"][0]["sha256"]
    assert (found["policy"]["attested"], found["policy"]["builder"]) == (True, "release")
    assert "attestation" not in found


def test_people_see_it(shop: Shop) -> None:
    """A line without a number says how many there are; the end counts the file as attested."""
    shop.lay(shop.published(), shop.published(content=b"other"))
    done = shop.get()
    assert done.exit_code == 0, done.output
    assert "   further evidence    found 2, verified 1\n" in done.stderr
    assert "attestation and policy" in done.stderr


def test_what_no_object_can_hold_is_listed(shop: Shop) -> None:
    """An entry of Rekor v2 with a time stamp lies as a whole bundle beside the object."""
    shop.list_(body(shop.published(log="v2")))
    done = shop.get("--json", where=shop.tree)
    assert done.exit_code == 0, done.output
    assert steps(done.stdout)["log"]["number"] == 12


@pytest.mark.parametrize(("policy", "code"), [(Pipeline().policy(), 0), (Pipeline().policy("other"), 62)])
def test_no_more_is_read_where_it_changes_nothing(
    run: Run, server: Loopback, tmp_path: Path, policy: bytes, code: int
) -> None:
    """No request for more where the policy takes the named one, or denies the project."""
    shop = Shop(run, server, tmp_path, policy)
    shop.sim.add_file(WHEEL, REAL, attestation=shop.pipeline.bundle(WHEEL, REAL))
    shop.publish()
    shop.lay(shop.published())
    assert shop.get().exit_code == code
    assert not any("/attestations/" in path for path in shop.asked())


def test_beside_a_named_one(shop: Shop) -> None:
    """A named build provenance that the rule does not ask for has to verify all the same, and more is looked for."""
    shop.sim.add_file(WHEEL, REAL, attestation=shop.pipeline.bundle(WHEEL, REAL))
    shop.publish()
    assert shop.get().exit_code == 62
    shop.lay(shop.published())
    done = shop.get("--json")
    assert done.exit_code == 0, done.output
    assert {"attestation", "further"} <= steps(done.stdout).keys()
    assert steps(done.stdout)["statement"]["predicate"] == PUBLISH
    shop.sim.add_file(WHEEL, REAL, attestation=shop.pipeline.bundle(WHEEL, b"other bytes"))
    shop.publish()
    before = len(shop.asked())
    done = shop.get()
    assert done.exit_code == 52, done.output
    assert not any("/attestations/" in path for path in shop.asked()[before:])


@pytest.mark.parametrize(
    ("code", "words", "bundles"),
    [
        (62, "there is none; further attestations could not be read", None),
        (62, "1 attestation(s) that no pointer names do not verify", lambda shop: shop.published(content=b"other")),
        (60, "workflow", lambda shop: shop.published(claims={"workflow": "nightly.yml"})),
        (62, "source ref", lambda shop: shop.published("1.9")),
        (62, "(certificate)", lambda _shop: _foreign()),
    ],
)
def test_what_does_not_satisfy(shop: Shop, code: int, words: str, bundles: Any) -> None:
    """What does not verify is only no evidence (62), with the reason that came furthest; what verifies is judged."""
    shop.lay(*([] if bundles is None else [bundles(shop)]))
    if bundles is None:
        shop.serve(further.OBJECT, b"{")
    done = shop.get("--json")
    assert done.exit_code == code, done.output
    last = json.loads(done.stdout.splitlines()[-1])
    assert words in last["message"], last["message"]
    assert not shop.dest.exists() or not any(shop.dest.iterdir())


def _foreign() -> dict[str, Any]:
    pipeline = Pipeline(Instance())
    return pipeline.instance.sign(statement(WHEEL, REAL, PUBLISH), pipeline.claims("1.10"))


def test_rubbish_beside_a_good_one(shop: Shop) -> None:
    """Of an object with a bundle that is none, one of another file and a good one, the good one counts."""
    document = json.loads(provenance_object([(PUBLISHER, pep740(shop.published(content=b"other")))]))
    document["attestation_bundles"][0]["attestations"].append({"version": 1})
    document["attestation_bundles"][0]["attestations"].append(pep740(shop.published()))
    shop.serve(further.OBJECT, json.dumps(document).encode())
    shop.serve(further.LIST, b"[]")
    done = shop.get("--json")
    assert done.exit_code == 0, done.output
    found = steps(done.stdout)["further"]
    assert (found["found"], found["verified"], found["unread"]) == (2, 1, 2)
    assert [one["verified"] for one in found["bundles"]] == [False, True]


@pytest.mark.parametrize(
    "answer",
    [
        b"x" * (MAX_BYTES + 1),
        b"\xff\xfe",
        lambda handler: reply(handler, 500),
        lambda handler: reply(handler, 403),
        lambda handler: handler.wfile.write(b"nonsense\r\n\r\n"),
    ],
)
def test_what_cannot_be_read_fails_closed(shop: Shop, answer: Any) -> None:
    """Whatever the server makes of the two documents, nothing but the policy's refusal comes of it."""
    shop.serve(further.OBJECT, answer)
    shop.serve(further.LIST, answer)
    done = shop.get()
    assert done.exit_code == 62, done.output
    assert "further attestations could not be read" in done.stderr


def test_an_endless_document_ends_in_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is looked at of a file has one time; what drips is given up then."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "100000")
        handler.end_headers()
        for _ in range(100):
            try:
                handler.wfile.write(b" ")
                handler.wfile.flush()
            except OSError:
                return
            time.sleep(0.05)

    monkeypatch.setattr(further, "MOST_SECONDS", 0.5)
    shop.serve(further.OBJECT, drip)
    begun = time.monotonic()
    assert shop.get().exit_code == 62
    assert time.monotonic() - begun < 4


def test_a_list_that_names_other_bytes(shop: Shop) -> None:
    """What is not what its list says is not looked at."""
    bundle = body(shop.published(log="v2"))
    shop.list_(bundle)
    digest = hashlib.sha256(bundle).hexdigest()
    key = f"files/{digest[:2]}/{digest[2:]}/{WHEEL}.sigstore.json"
    shop.server.paths[f"/{shop.sim.index}/+tuf/{key}"] = bundle[:-1] + b" "
    done = shop.get()
    assert (done.exit_code, "was signed" in done.stderr) == (62, True)


def test_from_a_mirror(shop: Shop) -> None:
    """What one address withholds another one may have."""
    shop.lay(shop.published())
    del shop.server.paths[f"/{shop.sim.index}/+tuf/attestations/widget/{WHEEL}{further.OBJECT}"]
    assert shop.get().exit_code == 62
    done = shop.get("--mirror", shop.tree)
    assert done.exit_code == 0, done.output


def test_without_the_network(shop: Shop) -> None:
    """Evidence holds what the file was allowed by; so does what lies beside the file, and what is named."""
    shop.lay(shop.published(), shop.published(content=b"other"))
    evidence = shop.folder / "evidence"
    done = shop.get("--evidence", evidence, "--bundle")
    assert done.exit_code == 0, done.output
    kept = list((evidence / "further" / WHEEL).iterdir())
    assert len(kept) == 1, "what did not verify is not kept"
    shop.server.paths.clear()
    file = shop.dest / WHEEL
    [beside] = shop.dest.glob(f"{WHEEL}.*.sigstore.json")
    assert beside.read_bytes() == kept[0].read_bytes()
    offline = ("verify", file, "--offline", "--repository", shop.url)
    assert shop.run(*offline, "--evidence", evidence).exit_code == 0
    assert shop.run(*offline).exit_code == 0, "it lies beside the file"
    beside.rename(shop.folder / "named.json")
    assert shop.run(*offline, "--evidence", evidence).exit_code == 0
    assert shop.run(*offline, "--attestation", shop.folder / "named.json").exit_code == 0
    assert shop.run(*offline).exit_code == 62
    kept[0].write_bytes(b"{}")
    assert shop.run(*offline, "--evidence", evidence).exit_code == 62


def test_explained(shop: Shop) -> None:
    """`policy explain FILE --repository` judges what the repository has of the file."""
    file = shop.folder / WHEEL
    file.write_bytes(REAL)
    asked = ("policy", "explain", file, "--repository", shop.url)
    done = shop.run(*asked)
    assert (done.exit_code, "no attestation of" in done.stderr) == (0, True)
    shop.lay(shop.published())
    done = shop.run(*asked, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["judgement"]["verdict"]["builder"] == "release"
    shop.lay(shop.published("1.9"))
    assert shop.run(*asked).exit_code == 62
    shop.lay(shop.published(content=b"other"))
    assert shop.run(*asked).exit_code == 62
