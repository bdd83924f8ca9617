"""Attestations as they arrive, and whose they have to be. Contract python-index sections 4.1 and 4.2; ADR 0037."""

from __future__ import annotations

import json
from typing import Any

import pytest

from countermark.core.attestations.facts import EXTENSIONS, LogKind, RootKind, SanType, VerifiedBundle
from countermark.core.attestations.results import Failed, Step
from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import FileName
from services.upload.attestation_rules import (
    GITHUB,
    GITLAB,
    GOOGLE,
    NoAttestations,
    check_publisher,
    publisher_of,
    read_field,
    read_posted,
)
from tests.support.builds import Forge, body
from tests.support.sigstore.instance import SLSA
from tests.support.sigstore.tokens import github, gitlab

NAME, CONTENT = FileName("widget-1.0-py3-none-any.whl"), b"wheel"
SHA = sha256_of(CONTENT)


@pytest.fixture(scope="module")
def forge() -> Forge:
    """A forge."""
    return Forge()


def facts(**changed: Any) -> VerifiedBundle:
    """Return what is proven of a run on a forge; `changed` fields, and `oid_N` for what its certificate says."""
    host = "https://github.com"
    oids = {
        "12": f"{host}/acme/thing",
        "13": "5" * 40,
        "15": "4711",
        "17": "42",
        "18": f"{host}/acme/thing/.github/workflows/release.yml@refs/tags/v1",
    }
    oids |= {name.removeprefix("oid_"): changed.pop(name) for name in list(changed) if name.startswith("oid_")}
    fields: dict[str, Any] = {
        "bundle_sha256": Sha256("a" * 64),
        "predicate_type": SLSA,
        "predicate": None,
        "root": "private",
        "root_kind": RootKind.SIGSTORE,
        "issuer": GITHUB,
        "san": f"{host}/acme/thing/.github/workflows/release.yml@refs/tags/v1",
        "san_type": SanType.URI,
        "certificate": {f"{EXTENSIONS}{number}": value for number, value in oids.items() if value is not None},
        "key": None,
        "log": LogKind.V1,
        "log_index": 1,
        "log_origin": "rekor.test",
        "signed_at": 1,
        "subject_name": NAME,
    }
    return VerifiedBundle(**(fields | changed))


def of_gitlab(**changed: Any) -> VerifiedBundle:
    """Return the same of a job of a pipeline."""
    own = {
        "issuer": GITLAB,
        "oid_12": f"{GITLAB}/acme/thing",
        "oid_13": "6" * 40,
        "oid_15": "4712",
        "oid_17": "43",
        "oid_18": f"{GITLAB}/acme/thing//.gitlab-ci.yml@refs/tags/v1",
    }
    return facts(**(own | changed))


def test_a_form_without_the_field_brings_none() -> None:
    """Nor does one whose field is empty."""
    assert read_field({}, NAME, SHA) == []
    assert read_field({"attestations": ["", " "]}, NAME, SHA) == []


def test_an_object_becomes_the_bundle_it_stands_for(forge: Forge) -> None:
    """The same object gives the same bytes, in the form and at the endpoint, however it is written."""
    document = forge.build_attestation(NAME, CONTENT)
    [one] = read_field({"attestations": [json.dumps([document], indent=3)]}, NAME, SHA)
    assert one == read_posted(body(document), NAME, SHA)
    assert one.pep740
    assert json.loads(one.bundle)["dsseEnvelope"]["payload"] == document["envelope"]["statement"]


def test_a_bundle_stays_as_it_is(forge: Forge) -> None:
    """Byte for byte: whoever made it knows its digest."""
    content = body(forge.built(NAME, CONTENT, log="v2"))
    one = read_posted(content, NAME, SHA)
    assert (one.bundle, one.pep740) == (content, False)


def test_bundles_may_stand_beside_objects(forge: Forge) -> None:
    """Byte for byte as they are written, several of one type too: the same bytes as at the endpoint."""
    first = body(forge.built(NAME, CONTENT, log="v2"))
    second = json.dumps(forge.built(NAME, CONTENT), indent=2).encode()
    text = b" [\n" + b" ,\t".join([first, body(forge.build_attestation(NAME, CONTENT)), second]) + b"\r\n] "
    found = read_field({"attestations": [text.decode()]}, NAME, SHA)
    assert [one.pep740 for one in found] == [False, True, False]
    assert (found[0], found[2]) == (read_posted(first, NAME, SHA), read_posted(second, NAME, SHA))


def test_texts_in_bundles_may_look_like_lists(forge: Forge) -> None:
    """Where an element ends is for JSON to say, not for its characters."""
    odd = forge.built(NAME, CONTENT, log="v2")
    odd["dsseEnvelope"]["signatures"][0]["keyid"] = '"], [{\\"\u00e9\u2028'
    for ascii_alone in (True, False):
        texts = [json.dumps(odd, ensure_ascii=ascii_alone, indent=indent) for indent in (None, 1)]
        found = read_field({"attestations": [f"[{','.join(texts)}]"]}, NAME, SHA)
        assert [one.bundle for one in found] == [text.encode() for text in texts]


def test_the_same_bundle_twice_is_refused(forge: Forge) -> None:
    """As it is, and as the object that stands for it: what is judged is told apart by its bytes."""
    content = body(forge.built(NAME, CONTENT, log="v2")).decode()
    document = forge.build_attestation(NAME, CONTENT)
    same = read_posted(body(document), NAME, SHA).bundle.decode()
    for text in (f"[{content},{content}]", f"[{json.dumps(document)},{same}]"):
        with pytest.raises(NoAttestations, match="there twice"):
            read_field({"attestations": [text]}, NAME, SHA)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["[1]", "[2]"], "there 2 times"),
        (["[" + " " * (1 << 20) + "]"], "longer than"),
        (["{"], "no JSON"),
        ([chr(0xD800)], "no JSON"),
        (["{}"], "array of 1 to 4"),
        (["[]"], "array of 1 to 4"),
        (["[1, 2, 3, 4, 5]"], "array of 1 to 4"),
        (['[{"mediaType": "x"}]'], "attestation 1 fails the check structure"),
        (["[1]"], "attestation 1 fails the check structure"),
    ],
)
def test_what_is_no_field_of_attestations_is_told(values: list[str], words: str) -> None:
    """Each with what is wrong."""
    with pytest.raises(NoAttestations, match=words):
        read_field({"attestations": values}, NAME, SHA)


def test_one_of_each_type_is_taken(forge: Forge) -> None:
    """Two of the same type are not."""
    one = forge.build_attestation(NAME, CONTENT)
    assert (
        len(read_field({"attestations": [json.dumps([one, forge.publish_attestation(NAME, CONTENT)])]}, NAME, SHA)) == 2
    )
    with pytest.raises(NoAttestations, match="two attestations of the predicate type"):
        read_field({"attestations": [json.dumps([one, one])]}, NAME, SHA)


def test_the_subject_is_this_file(forge: Forge) -> None:
    """Another name, other bytes: told with the number of the attestation."""
    good = forge.publish_attestation(NAME, CONTENT)
    for document in (
        forge.build_attestation("widget-1.1-py3-none-any.whl", CONTENT),
        forge.build_attestation(NAME, b"x"),
    ):
        with pytest.raises(NoAttestations, match="attestation 2 fails the check subject"):
            read_field({"attestations": [json.dumps([good, document])]}, NAME, SHA)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b" " * ((1 << 20) + 1), "more than"),
        (b"{", "no JSON"),
        (b"{}", "must be one Sigstore bundle"),
        (b"1", "must be one"),
        (b'{"mediaType": "x"}', "check structure"),
        (b'{"verification_material": 1}', "check structure"),
    ],
)
def test_what_is_no_attestation_is_told(content: bytes, words: str) -> None:
    """Each with what is wrong."""
    with pytest.raises(NoAttestations, match=words):
        read_posted(content, NAME, SHA)


def test_the_run_of_the_token_is_the_run_of_the_certificate() -> None:
    """Both forges, and a person's address."""
    check_publisher({"kind": "GitHub", "claims": github() | {"iss": GITHUB}}, facts())
    check_publisher({"kind": "GitLab", "claims": gitlab() | {"iss": GITLAB}}, of_gitlab())
    google = {"kind": "Google", "claims": {"iss": GOOGLE, "email": "ann@example.org"}}
    check_publisher(google, facts(issuer=GOOGLE, san="ann@example.org", san_type=SanType.EMAIL))


@pytest.mark.parametrize(
    ("oid", "words"),
    [
        ("oid_12", "repository"),
        ("oid_13", "commit"),
        ("oid_15", "repository id"),
        ("oid_17", "owner id"),
        ("oid_18", "workflow"),
    ],
)
@pytest.mark.parametrize("value", [None, "other"])
def test_each_extension_must_say_what_the_token_does(oid: str, words: str, value: str | None) -> None:
    """One that is missing is another's."""
    for publisher, proven in (
        ({"kind": "GitHub", "claims": github() | {"iss": GITHUB}}, facts(**{oid: value})),
        ({"kind": "GitLab", "claims": gitlab() | {"iss": GITLAB}}, of_gitlab(**{oid: value})),
    ):
        with pytest.raises(Failed, match=words) as failed:
            check_publisher(publisher, proven)
        assert failed.value.step is Step.IDENTITY


@pytest.mark.parametrize(
    ("publisher", "words"),
    [
        ({"kind": "GitHub"}, "without claims"),
        ({"kind": "GitHub", "claims": {}}, "without its issuer"),
        ({"kind": "GitHub", "claims": {"iss": GITHUB}}, "without its repository"),
        ({"kind": "GitHub", "claims": github() | {"iss": GITHUB, "sha": ""}}, "without its commit"),
        ({"kind": "GitHub", "claims": github() | {"iss": GITHUB, "sha": 5}}, "without its commit"),
        ({"kind": "Jenkins", "claims": github() | {"iss": GITHUB}}, "not known here"),
        ({"claims": github() | {"iss": GITHUB}}, "not known here"),
        ({"kind": "GitHub", "claims": github() | {"iss": GITLAB}}, "issuer"),
        ({"kind": "Google", "claims": {"iss": GITHUB, "email": "https://github.com"}}, "e-mail"),
    ],
)
def test_a_token_that_does_not_say_whose_it_is_proves_nothing(publisher: dict[str, Any], words: str) -> None:
    """Missing claims, unknown kinds and other issuers are refused."""
    with pytest.raises(Failed, match=words):
        check_publisher(publisher, facts())


def test_publishers_are_named_by_their_certificates() -> None:
    """As PEP 740 objects have them, with the certificate's claims; the environment is the token's."""
    proven = facts()
    assert publisher_of(proven, "release") == {
        "kind": "GitHub",
        "repository": "acme/thing",
        "workflow": "release.yml",
        "environment": "release",
        "claims": dict(proven.certificate),
    }
    of_pipeline = publisher_of(of_gitlab())
    assert of_pipeline is not None
    assert (of_pipeline["workflow_filepath"], of_pipeline["repository"]) == (".gitlab-ci.yml", "acme/thing")
    person = publisher_of(facts(issuer=GOOGLE, san="ann@example.org", san_type=SanType.EMAIL))
    assert person is not None
    assert (person["kind"], person["email"]) == ("Google", "ann@example.org")


@pytest.mark.parametrize(
    "proven",
    [
        facts(issuer="https://ci.example/oidc"),
        facts(issuer=None),
        facts(issuer=GOOGLE),
        facts(oid_12=None),
        facts(oid_18=None),
        facts(oid_12="https://github.example/acme/thing"),
        facts(oid_18="https://github.com/other/thing/.github/workflows/release.yml@refs/tags/v1"),
        facts(oid_18="https://github.com/acme/thing/.github/workflows/"),
    ],
)
def test_an_identity_that_objects_have_no_word_for_has_no_publisher(proven: VerifiedBundle) -> None:
    """It is told by its certificate alone."""
    assert publisher_of(proven) is None
