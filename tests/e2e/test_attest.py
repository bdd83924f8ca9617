"""`countermark attest` signs against a Sigstore instance by the stock library, and the stock program verifies it."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pypi_attestations import Attestation

from countermark.core.attestations.bundle_verifying import BundleVerifier
from countermark.core.attestations.judgements import JudgedFile
from countermark.core.attestations.judging import judge
from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import sha256_of
from tests.support.processes import program, run
from tests.support.sigstore.process import SigstoreProcess, sigstore_process
from tests.support.sigstore.tokens import GITHUB, GITLAB, gitlab

pytestmark = pytest.mark.embedded

WORKFLOW = "https://github.com/acme/thing/.github/workflows/release.yml@refs/tags/v1"
PIPELINE = "https://gitlab.com/acme/thing//.gitlab-ci.yml@refs/tags/v1"
SLSA = "https://slsa.dev/provenance/v1"
POLICY = b"""
schema: "policy/v1"
roots: {private: "trusted_root.json"}
test_roots: ["private"]
builders:
  release:
    root: "private"
    issuer: "https://token.actions.githubusercontent.com"
    san: {workflow: "https://github.com/acme/thing/.github/workflows/release.yml", refs: ["refs/tags/v*"]}
    builder_ids: ["https://github.com/acme/thing/.github/workflows/release.yml"]
    build_types: ["https://actions.github.io/buildtypes/workflow/v1"]
    level: 3
packages:
  - match: "thing"
    builders: ["release"]
    source: "https://github.com/acme/thing"
    source_refs: ["refs/tags/v{version}"]
    min_level: 3
  - match: "*"
    deny: "true"
"""
WHEEL = "thing-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def sigstore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SigstoreProcess]:
    """An instance with both logs."""
    with sigstore_process(tmp_path_factory.mktemp("sigstore")) as process:
        yield process


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A file with a statement beside it."""
    path = tmp_path / WHEEL
    path.write_bytes(b"a wheel")
    subject = {"name": WHEEL, "digest": {"sha256": sha256_of(b"a wheel")}}
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [subject], "predicateType": SLSA}
    predicate = {"buildDefinition": {"buildType": "https://build.test/v1", "externalParameters": {}}}
    path.with_name(f"{WHEEL}.statement.json").write_text(json.dumps(statement | {"predicate": predicate}, indent=2))
    return path


def attest(
    sigstore: SigstoreProcess, *arguments: str | Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command against the instance, in nobody's pipeline unless `environment` says so."""
    nobody = {"GITHUB_ACTIONS": "", "GITLAB_CI": "", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": ""}
    argv = (program("countermark"), "attest", "--trust-config", sigstore.client_trust_config, *arguments)
    return run(*map(str, argv), environment=nobody | (environment or {}))


def verify(sigstore: SigstoreProcess, file: Path, identity: str, issuer: str, home: Path) -> str:
    """Have the stock program verify a file by the bundle beside it; returns what it says."""
    environment = {"HOME": str(home), "XDG_CACHE_HOME": "", "XDG_DATA_HOME": ""}
    trust = run(
        *(program("sigstore"), "--instance", sigstore.url, "trust-instance", str(sigstore.tuf_root)),
        environment=environment,
    )
    assert trust.returncode == 0, trust.stderr
    who = ("--cert-identity", identity, "--cert-oidc-issuer", issuer)
    argv = (program("sigstore"), "--instance", sigstore.url, "verify", "identity", *who, str(file))
    done = run(*argv, environment=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def bundle_of(file: Path) -> Any:
    """Return the bundle beside a file."""
    return json.loads(file.with_name(f"{file.name}.sigstore.json").read_text())


@pytest.mark.parametrize(
    ("options", "kind"),
    [((), ("dsse", "0.0.1")), (("--rekor-version", "2"), ("hashedrekord", "0.0.2"))],
)
def test_a_workflow_signs_as_itself(
    sigstore: SigstoreProcess, wheel: Path, tmp_path: Path, options: tuple[str, ...], kind: tuple[str, str]
) -> None:
    """A job gets its token by itself; the first log is taken unless another is asked for; `sigstore verify` agrees."""
    done = attest(sigstore, wheel, *options, "--json", environment=sigstore.job())
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["identity"], told["issuer"], told["predicate_type"]) == (WORKFLOW, GITHUB, SLSA)
    [entry] = bundle_of(wheel)["verificationMaterial"]["tlogEntries"]
    assert (entry["kindVersion"]["kind"], entry["kindVersion"]["version"]) == kind
    payload = base64.b64decode(bundle_of(wheel)["dsseEnvelope"]["payload"])
    assert payload == wheel.with_name(f"{WHEEL}.statement.json").read_bytes()
    assert "OK" in verify(sigstore, wheel, WORKFLOW, GITHUB, tmp_path / "home")


def test_a_pipeline_of_gitlab_signs_as_itself(sigstore: SigstoreProcess, wheel: Path, tmp_path: Path) -> None:
    """The variable in which a job has its token is found, and `sigstore verify` sees the pipeline."""
    job = {"GITLAB_CI": "true", "SIGSTORE_ID_TOKEN": sigstore.token(gitlab() | {"iss": GITLAB})}
    done = attest(sigstore, wheel, environment=job)
    assert done.returncode == 0, done.stderr
    assert "OK" in verify(sigstore, wheel, PIPELINE, GITLAB, tmp_path / "home")


def test_one_identity_for_several_files(sigstore: SigstoreProcess, wheel: Path, tmp_path: Path) -> None:
    """A given token signs all files with one certificate, and PEP 740 attestations are of the very statements."""
    sdist = tmp_path / "thing-1.0.tar.gz"
    sdist.write_bytes(b"an sdist")
    options = (
        "--identity-token",
        sigstore.token(),
        "--predicate-type",
        f"https://index.test{'/attestations/publish/v1'}",
    )
    done = attest(sigstore, wheel, sdist, *options, "--pep740")
    assert done.returncode == 0, done.stderr
    assert [Path(line).name for line in done.stdout.splitlines()] == [
        f"{WHEEL}.sigstore.json",
        f"{WHEEL}.publish.attestation",
        f"{sdist.name}.sigstore.json",
        f"{sdist.name}.publish.attestation",
    ]
    certificates = {bundle_of(file)["verificationMaterial"]["certificate"]["rawBytes"] for file in (wheel, sdist)}
    assert len(certificates) == 1
    read = Attestation.model_validate_json(wheel.with_name(f"{WHEEL}.publish.attestation").read_bytes())
    assert read.to_bundle().log_entry is not None
    payload = json.loads(read.envelope.statement)
    assert payload["subject"] == [{"name": WHEEL, "digest": {"sha256": sha256_of(b"a wheel")}}]


def test_a_person_signs_in_by_a_browser(sigstore: SigstoreProcess, wheel: Path, tmp_path: Path) -> None:
    """At a terminal, somebody without a token is sent to a browser, and signs with an e-mail address."""
    browser = tmp_path / "browser"
    browser.write_text(f"#!{program('python')}\nimport sys, urllib.request\nurllib.request.urlopen(sys.argv[1])\n")
    browser.chmod(0o755)
    outer, inner = pty.openpty()
    try:
        argv = (program("countermark"), "attest", "--trust-config", str(sigstore.client_trust_config), str(wheel))
        environment = {**os.environ, "BROWSER": str(browser), "GITHUB_ACTIONS": "", "GITLAB_CI": ""}
        done = subprocess.run(
            argv, env=environment, stdin=inner, stderr=inner, stdout=subprocess.PIPE, timeout=60, check=False
        )
        assert done.returncode == 0, os.read(outer, 10_000)
    finally:
        os.close(inner)
        os.close(outer)
    assert done.stdout.decode().strip() == f"{wheel}.sigstore.json"
    assert "OK" in verify(sigstore, wheel, "builder@acme.test", f"{sigstore.url}/oidc", tmp_path / "home")


def test_a_person_types_a_code(sigstore: SigstoreProcess, wheel: Path, tmp_path: Path) -> None:
    """With --no-browser the address is told and its code asked for; the output stream holds the path alone."""
    outer, inner = pty.openpty()
    argv = (program("countermark"), "attest", "--no-browser", str(wheel), "--trust-config")
    nobody = {"GITHUB_ACTIONS": "", "GITLAB_CI": ""}
    with subprocess.Popen(
        (*argv, str(sigstore.client_trust_config)),
        env=os.environ | nobody,
        stdin=inner,
        stderr=inner,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        os.close(inner)
        told = ""
        while "code:" not in told:
            told += os.read(outer, 10_000).decode()
        [address] = re.findall(r"(http://\S+)", told)
        code = httpx2.get(address).text
        os.write(outer, f"{code}\n".encode())
        assert started.stdout is not None
        assert started.stdout.read() == f"{wheel}.sigstore.json\n"
        assert started.wait(60) == 0
    os.close(outer)
    assert "OK" in verify(sigstore, wheel, "builder@acme.test", f"{sigstore.url}/oidc", tmp_path / "home")


def test_a_person_signs_in_by_another_device(sigstore: SigstoreProcess, wheel: Path, tmp_path: Path) -> None:
    """Without a terminal, address and code are told; once that is confirmed elsewhere, it signs as that person."""
    argv = (
        program("countermark"),
        "attest",
        "--device",
        "--trust-config",
        str(sigstore.client_trust_config),
        str(wheel),
    )
    nobody = {"GITHUB_ACTIONS": "", "GITLAB_CI": ""}
    with subprocess.Popen(
        argv,
        env=os.environ | nobody,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stderr is not None
        told = started.stderr.readline()
        [address] = re.findall(r"Open (\S+) on any device", told)
        assert httpx2.get(address).status_code == 200
        assert started.wait(60) == 0, started.stderr.read()
    assert "OK" in verify(sigstore, wheel, "builder@acme.test", f"{sigstore.url}/oidc", tmp_path / "home")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "no identity to sign as"),
        (("--identity-token", "no.token.this"), "no usable identity"),
        (("--identity-token", "TOKEN", "--rekor-version", "1", "--predicate-type", "a:b", "--pep740"), "PEP 740"),
    ],
)
def test_without_an_identity_nothing_is_written(
    sigstore: SigstoreProcess, wheel: Path, options: tuple[str, ...], words: str
) -> None:
    """In a script without a token, or with one that is none, the run ends with what to do, and leaves nothing."""
    done = attest(sigstore, wheel, *options)
    assert done.returncode in {1, 2}
    assert words in done.stderr
    assert not wheel.with_name(f"{WHEEL}.sigstore.json").exists()


def test_what_does_not_verify_is_not_written(sigstore: SigstoreProcess, wheel: Path, tmp_path: Path) -> None:
    """A trust config whose root is another instance's than its services is found out before anything is written."""
    config = json.loads(sigstore.client_trust_config.read_text())
    with sigstore_process(tmp_path / "other") as other:
        root = json.loads(other.client_trust_config.read_text())["trustedRoot"]
    # With the CT log of the first, the certificate passes; log and authority are the other's.
    mixed = tmp_path / "mixed.json"
    mixed.write_text(json.dumps(config | {"trustedRoot": root | {"ctlogs": config["trustedRoot"]["ctlogs"]}}))
    argv = (program("countermark"), "attest", str(wheel), "--trust-config", str(mixed))
    done = run(*argv, "--identity-token", sigstore.token())
    assert done.returncode == 1
    assert "attest:" in done.stderr
    assert not wheel.with_name(f"{WHEEL}.sigstore.json").exists()


def test_a_key_is_stamped_by_the_instances_authority(sigstore: SigstoreProcess, wheel: Path, tmp_path: Path) -> None:
    """A named key and a time stamp over HTTP make a bundle that verifies by that key, with the stamp's time."""
    private = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pem").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    stamps = ("--timestamp-url", f"{sigstore.url}/api/v1/timestamp")
    done = attest(sigstore, wheel, "--key", f"file2:{tmp_path / 'key.pem'}", *stamps, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    roots = {"r": sigstore.trusted_root.read_bytes()}
    verifier = BundleVerifier(roots, {"k": pem}, test_roots=roots)
    body = wheel.with_name(f"{WHEEL}.sigstore.json").read_bytes()
    report = verifier.verify(body, WHEEL, sha256_of(b"a wheel"))
    assert report.verified is not None, report.failure
    assert report.verified.signed_at == json.loads(done.stdout)["signed_at"] > 0


def test_a_build_in_a_workflow_is_attested_as_it_was_built(sigstore: SigstoreProcess, tmp_path: Path) -> None:
    """Build, then attest, in a job's environment: a policy that names workflow, source and tag takes it."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "thing.py").write_text("")
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "thing"\nversion = "1.0"\n[tool.hatch.build.targets.wheel]\ninclude = ["thing.py"]\n'
    )
    workflow = {
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "acme/thing",
        "GITHUB_SHA": "5" * 40,
        "GITHUB_REF": "refs/tags/v1",
        "GITHUB_WORKFLOW_REF": "acme/thing/.github/workflows/release.yml@refs/tags/v1",
    }
    job = workflow | {"GITLAB_CI": "", "GITHUB_ACTIONS": "true"} | sigstore.job()
    built = run(program("countermark"), "build", str(project), "--no-isolation", environment=job)
    assert built.returncode == 0, built.stderr
    files = built.stdout.split()
    done = attest(sigstore, *files, environment=job)
    assert done.returncode == 0, done.stderr
    for file in map(Path, files):
        payload = json.loads(base64.b64decode(bundle_of(file)["dsseEnvelope"]["payload"]))
        assert payload["predicate"]["runDetails"]["builder"]["id"] == WORKFLOW.partition("@")[0]
        assert "OK" in verify(sigstore, file, WORKFLOW, GITHUB, tmp_path / "home")
        bundle = file.with_name(f"{file.name}.sigstore.json").read_bytes()
        judged = JudgedFile("root/stable", "thing", "1", file.name, sha256_of(file.read_bytes()))
        material = TrustMaterial(POLICY, {"trusted_root.json": sigstore.trusted_root.read_bytes()})
        found = judge(material, judged, bundle, [], int(time.time()), None)
        assert (found.passed, found.verdict.level) == (True, 3), found.reason
