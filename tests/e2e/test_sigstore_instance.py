"""The test instance as a server takes the stock `sigstore` and `pypi-attestations`; trust contract section 5.3 (a)."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from pypi_attestations import Attestation, Distribution
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity

from tests.support.processes import program, run
from tests.support.sigstore.process import SigstoreProcess, sigstore_process
from tests.support.sigstore.tokens import GITHUB, GITLAB, github, gitlab

pytestmark = pytest.mark.embedded

WORKFLOW = "https://github.com/acme/thing/.github/workflows/release.yml@refs/tags/v1"
WHO = ("--cert-identity", WORKFLOW, "--cert-oidc-issuer", GITHUB)
SLSA = "https://slsa.dev/provenance/v1"
PREDICATE = {
    "buildDefinition": {"buildType": "https://build.test/wheel/v1", "externalParameters": {"repository": "acme/thing"}},
    "runDetails": {"builder": {"id": WORKFLOW}},
}


@pytest.fixture(scope="module")
def sigstore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SigstoreProcess]:
    """An instance with both logs."""
    with sigstore_process(tmp_path_factory.mktemp("sigstore")) as process:
        yield process


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A file to sign."""
    path = tmp_path / "thing-1.0-py3-none-any.whl"
    path.write_bytes(b"a wheel")
    return path


class Stock:
    """The stock program in a home of its own that trusts the instance."""

    def __init__(self, sigstore: SigstoreProcess, home: Path) -> None:
        self.url = sigstore.url
        self._instance = ("--instance", sigstore.url)
        self._environment = {"HOME": str(home), "XDG_CACHE_HOME": "", "XDG_DATA_HOME": ""}
        self.done("trust-instance", str(sigstore.tuf_root))

    def run(self, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        argv = (program("sigstore"), *self._instance, *arguments)
        return run(*argv, environment=self._environment | (environment or {}))

    def done(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        """Run it to its good end; returns what it wrote."""
        finished = self.run(*arguments, environment=environment)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout + finished.stderr


@pytest.fixture(scope="module")
def stock(sigstore: SigstoreProcess, tmp_path_factory: pytest.TempPathFactory) -> Stock:
    """The stock program after `trust-instance`."""
    return Stock(sigstore, tmp_path_factory.mktemp("home"))


def entry_of(bundle: Path) -> tuple[str, str]:
    """Return kind and version of a bundle's log entry."""
    [entry] = json.loads(bundle.read_text())["verificationMaterial"]["tlogEntries"]
    return entry["kindVersion"]["kind"], entry["kindVersion"]["version"]


@pytest.mark.parametrize("version", ["1", "2"])
def test_sign(sigstore: SigstoreProcess, stock: Stock, wheel: Path, version: str) -> None:
    """`sigstore sign` signs a file over either log, and `sigstore verify` takes it, and no other file."""
    stock.done("sign", "--rekor-version", version, "--identity-token", sigstore.token(), str(wheel))
    bundle = wheel.with_name(f"{wheel.name}.sigstore.json")
    assert entry_of(bundle) == ("hashedrekord", f"0.0.{version}")
    assert "OK" in stock.done("verify", "identity", *WHO, str(wheel))
    assert "OK" in stock.done("verify", "github", "--repository", "acme/thing", "--sha", "5" * 40, str(wheel))
    assert stock.run("verify", "identity", "--cert-identity", "x", *WHO[2:], str(wheel)).returncode == 1
    wheel.write_bytes(b"a wheem")
    assert stock.run("verify", "identity", *WHO, str(wheel)).returncode == 1


@pytest.mark.parametrize(("version", "kind"), [("1", ("dsse", "0.0.1")), ("2", ("hashedrekord", "0.0.2"))])
def test_attest(sigstore: SigstoreProcess, stock: Stock, wheel: Path, version: str, kind: tuple[str, str]) -> None:
    """`sigstore attest` gets its token as a workflow's job does, signs a statement, and `sigstore verify` takes it."""
    predicate = wheel.with_name("predicate.json")
    predicate.write_text(json.dumps(PREDICATE))
    options = ("--rekor-version", version, "--predicate", str(predicate), "--predicate-type", SLSA)
    stock.done("attest", *options, str(wheel), environment=sigstore.job())
    bundle = wheel.with_name(f"{wheel.name}.sigstore.json")
    assert entry_of(bundle) == kind
    assert "OK" in stock.done("verify", "identity", *WHO, str(wheel))


def test_a_pipeline(sigstore: SigstoreProcess, stock: Stock, wheel: Path) -> None:
    """A job of a pipeline, with the variable that it has its token in, signs as that pipeline."""
    job = {"GITLAB_CI": "true", "SIGSTORE_ID_TOKEN": sigstore.token(gitlab() | {"iss": GITLAB})}
    stock.done("sign", str(wheel), environment=job)
    who = "https://gitlab.com/acme/thing//.gitlab-ci.yml@refs/tags/v1"
    stock.done("verify", "identity", "--cert-identity", who, "--cert-oidc-issuer", GITLAB, str(wheel))


@pytest.mark.parametrize("version", [1, 2])
def test_library(sigstore: SigstoreProcess, version: int) -> None:
    """The library signs with the client trust config alone, and verifies with its trust root."""
    trust = ClientTrustConfig.from_json(sigstore.client_trust_config.read_text())
    trust.force_tlog_version = version
    with SigningContext.from_trust_config(trust).signer(IdentityToken(sigstore.token())) as signer:
        bundle = Bundle.from_json(signer.sign_artifact(b"content").to_json())
    identity = Identity(identity=WORKFLOW, issuer=GITHUB)
    Verifier(trusted_root=trust.trusted_root).verify_artifact(b"content", bundle, identity)


def test_pypi_attestations(sigstore: SigstoreProcess, wheel: Path) -> None:
    """The publishing action's library makes an attestation over the first log, and what it made verifies."""
    trust = ClientTrustConfig.from_json(sigstore.client_trust_config.read_text())
    trust.force_tlog_version = 1
    with SigningContext.from_trust_config(trust).signer(IdentityToken(sigstore.token())) as signer:
        made = Attestation.sign(signer, Distribution.from_file(wheel))
    read = Attestation.model_validate_json(made.model_dump_json())
    identity = Identity(identity=WORKFLOW, issuer=GITHUB)
    kind, payload = Verifier(trusted_root=trust.trusted_root).verify_dsse(read.to_bundle(), identity)
    assert kind == "application/vnd.in-toto+json"
    assert json.loads(payload)["subject"][0]["name"] == wheel.name


def test_people(stock: Stock, wheel: Path) -> None:
    """Somebody at a browser signs in by the flow of the stock program, with PKCE, and signs with an e-mail address."""
    browser = wheel.with_name("browser")
    browser.write_text(f"#!{program('python')}\nimport sys, urllib.request\nurllib.request.urlopen(sys.argv[1])\n")
    browser.chmod(0o755)
    stock.done("sign", str(wheel), environment={"BROWSER": str(browser)})
    issuer = ("--cert-oidc-issuer", f"{stock.url}/oidc")
    stock.done("verify", "identity", "--cert-identity", "builder@acme.test", *issuer, str(wheel))


def test_devices(sigstore: SigstoreProcess) -> None:
    """Somebody without a browser confirms a code elsewhere; until then, and a second time, there is no token."""
    oidc = httpx2.get(f"{sigstore.url}/oidc/.well-known/openid-configuration").json()
    begun = httpx2.post(oidc["device_authorization_endpoint"], data={"client_id": "sigstore"}).json()
    asked = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": begun["device_code"]}
    pending = httpx2.post(oidc["token_endpoint"], data=asked)
    assert (pending.status_code, pending.json()) == (400, {"error": "authorization_pending"})
    assert httpx2.get(begun["verification_uri_complete"]).status_code == 200
    IdentityToken(httpx2.post(oidc["token_endpoint"], data=asked).json()["access_token"])
    assert httpx2.post(oidc["token_endpoint"], data=asked).json() == {"error": "invalid_grant"}


def test_refusals(sigstore: SigstoreProcess) -> None:
    """Foreign tokens, signatures that are not good and what is no request are refused with words."""
    for path, body, status, words in [
        ("/api/v2/signingCert", "{}", 401, "not believed"),
        ("/api/v1/log/entries", "[]", 400, "no JSON object"),
        ("/api/v1/log/entries", '{"kind": "alpine", "spec": {}}', 400, "dsse and hashedrekord"),
        ("/api/v2/log/entries", '{"dsseRequestV002": {}}', 400, "no hashedrekord 0.0.2"),
        ("/api/v1/timestamp", "0", 400, "no RFC 3161 request"),
        ("/api/v1/timestamp", "0" * (2 << 20), 413, "at most"),
    ]:
        answer = httpx2.post(f"{sigstore.url}{path}", content=body.encode())
        assert answer.status_code == status
        assert words in answer.json()["message"]


def test_it_says_what_it_is(tmp_path: Path) -> None:
    """It does not start for who does not say that it is a test double; a company's has neither logs nor SCTs."""
    refused = run(program("python"), "-m", "tests.support.sigstore")
    assert refused.returncode == 2
    assert re.search("--i-am-a-test-double", refused.stderr)
    with sigstore_process(tmp_path, "--company") as company:
        root = json.loads(company.trusted_root.read_text())
        assert (root["tlogs"], root["ctlogs"]) == ([], [])
        assert root["certificateAuthorities"][0]["subject"]["organization"] == "test"


def test_job_of(sigstore: SigstoreProcess) -> None:
    """A job's own token is no identity token, and it alone gets one."""
    job = sigstore.job(github("acme/other"))
    url, token = job["ACTIONS_ID_TOKEN_REQUEST_URL"], job["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    assert httpx2.get(url).status_code == 401
    assert httpx2.get(url, headers={"Authorization": f"bearer {sigstore.token()}"}).status_code == 401
    answer = httpx2.get(url, params={"audience": "sigstore"}, headers={"Authorization": f"bearer {token}"})
    assert IdentityToken(answer.json()["value"]).identity == "repo:acme/other:ref:refs/tags/v1"
