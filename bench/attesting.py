"""Measures what attestations cost: verifying one, beside the stock library, and uploading with one, beside without.

A Sigstore instance for tests signs them, by the stock library. The trust root and the policy that names it are signed
by the deployment's own ceremony. CPU is counted: of this process, and of the server's whole tree with the process that
verifies, which is warm.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from pypi_attestations import Attestation
from sigstore.dsse import StatementBuilder, Subject
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity

from bench.countermark import countermark, registry_of, token_of
from bench.errors import NotMeasured
from bench.machine import cpu_seconds
from bench.registry import Registry, form_of
from bench.report import MICROSECONDS, MILLISECONDS, Figure, Row
from bench.running import HOST, Running
from bench.wheels import Wheel, make_wheel
from countermark.core.attestations.bundle_verifying import BundleVerifier
from countermark.core.digest import sha256_of
from tests.support import builds
from tests.support.sigstore.process import SigstoreProcess, sigstore_process
from tests.support.sigstore.tokens import GITHUB, github
from tests.support.trusting import POLICY, TRUSTED_ROOT, Holders

_TIMES, _LIMIT = 1.5, 30.0
"""How many times the stock library's call verifying may cost, and milliseconds of CPU that an upload may cost more."""

_ROUNDS, _CALLS = 21, 20
"""Rounds of each kind of verifying, in turn, and calls of a round."""

_BATCH = 10
"""Uploads whose CPU is counted together: the kernel's clock has ticks of 10 ms."""

_WARM_UP = 3
_WORKFLOW = "https://github.com/acme/thing/.github/workflows/release.yml"
_SLSA = "https://slsa.dev/provenance/v1"
_ATTESTED, _PLAIN = "bench-attested", "bench-plain"


@dataclass(frozen=True, slots=True)
class Signing:
    """Signs by the stock library what a workflow built.

    Attributes:
        version: of the log.
    """

    sigstore: SigstoreProcess
    version: int

    def trust(self) -> ClientTrustConfig:
        """Return the instance as the library knows it."""
        trust = ClientTrustConfig.from_json(self.sigstore.client_trust_config.read_text(encoding="utf-8"))
        trust.force_tlog_version = self.version
        return trust

    def sign(self, wheel: Wheel) -> Bundle:
        """Return a bundle with the provenance of a wheel."""
        statement = (
            StatementBuilder()
            .subjects([Subject(name=wheel.filename, digest={"sha256": wheel.sha256})])
            .predicate_type(_SLSA)
            .predicate(builds.predicate(github()))
            .build()
        )
        token = IdentityToken(self.sigstore.token())
        with SigningContext.from_trust_config(self.trust()).signer(token) as signer:
            return signer.sign_dsse(statement)


@dataclass(frozen=True, slots=True)
class _Deployment:
    """The measured deployment, as its administrators know it."""

    api: str
    data: Path

    def token(self, *options: str, index: str) -> str:
        return token_of(self.data, *options, index=index)


def measure_attestations(uploads: int, folder: Path) -> Iterator[Row]:
    """Yield the rows about attestations.

    Args:
        uploads: measured ones of each kind.
        folder: empty folder for the servers' data.
    """
    with sigstore_process(folder / "sigstore") as sigstore:
        for version in (1, 2):
            yield from _verified(Signing(sigstore, version))
        yield _uploaded(Signing(sigstore, 1), uploads, folder)


def _verified(signing: Signing) -> Iterator[Row]:
    wheel = make_wheel(_ATTESTED, "1.0")
    body, root = signing.sign(wheel).to_json().encode(), signing.sigstore.trusted_root.read_bytes()
    stock = Verifier(trusted_root=signing.trust().trusted_root)
    identity = Identity(identity=f"{_WORKFLOW}@refs/tags/v1", issuer=GITHUB)
    ours = BundleVerifier({"private": root}, {}, test_roots={"private"})
    parsed, sha256 = Bundle.from_json(body), sha256_of(wheel.content)
    if (failure := ours.verify(body, wheel.filename, sha256).failure) is not None:
        raise NotMeasured(f"the bundle does not verify: {failure.detail}")
    calls: list[Callable[[], object]] = [
        lambda: ours.verify(body, wheel.filename, sha256),
        lambda: stock.verify_dsse(Bundle.from_json(body), identity),
        lambda: stock.verify_dsse(parsed, identity),
    ]
    mine, read, bare = _in_turn(calls)
    figure = Figure(f"verify a bundle, warm, log v{signing.version}: CPU", mine, MICROSECONDS)
    yield figure.beside("sigstore-python, reading it too", read, at_most=_TIMES)
    yield figure.beside("sigstore-python, the call alone", bare)


def _in_turn(calls: list[Callable[[], object]]) -> list[float]:
    """Return the microseconds of CPU of each call: the median of interleaved rounds, the first left out."""
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(_ROUNDS + 1):
        for times, call in zip(found, calls, strict=True):
            begun = time.process_time()
            for _ in range(_CALLS):
                call()
            times.append((time.process_time() - begun) / _CALLS * 1e6)
    return [statistics.median(times[1:]) for times in found]


def _uploaded(signing: Signing, uploads: int, folder: Path) -> Row:
    data = folder / "countermark"
    batches = max(2, -(-uploads // _BATCH))
    with countermark(data) as server:
        registry = registry_of(server, data)
        _trust(signing.sigstore, registry, data, folder)
        for number in range(_WARM_UP):
            wheel = make_wheel(_ATTESTED, f"0.{number}")
            _cpu(server, registry, [_form(make_wheel(_PLAIN, f"0.{number}")), _form(wheel, _field(signing, wheel))])
        plain, attested = list[float](), list[float]()
        for batch in range(batches):
            versions = [f"{batch + 1}.{number}" for number in range(_BATCH)]
            with_none = [_form(make_wheel(_PLAIN, version)) for version in versions]
            wheels = [make_wheel(_ATTESTED, version) for version in versions]
            with_one = [_form(wheel, _field(signing, wheel)) for wheel in wheels]
            plain.append(_cpu(server, registry, with_none))
            attested.append(_cpu(server, registry, with_one))
    more = [mine - other for mine, other in zip(attested, plain, strict=True)]
    figure = Figure("upload with an attestation over one without: CPU", statistics.median(more), MILLISECONDS)
    return figure.within(_LIMIT)


def _field(signing: Signing, wheel: Wheel) -> str:
    """Return the form field `attestations` for a wheel."""
    return json.dumps([json.loads(Attestation.from_bundle(signing.sign(wheel)).model_dump_json())])


def _form(wheel: Wheel, attestations: str = "") -> tuple[str, bytes]:
    """Return the content type and the body of the form that uploads a wheel, with attestations if there are any."""
    content_type, body = form_of(wheel)
    boundary = content_type.partition("boundary=")[2]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="attestations"\r\n\r\n{attestations}\r\n'
    return content_type, (head.encode() if attestations else b"") + body


def _cpu(server: Running, registry: Registry, forms: Sequence[tuple[str, bytes]]) -> float:
    """Return the milliseconds of CPU that the server's processes took for each of these uploads.

    Raises:
        NotMeasured: one is not taken.
    """
    pids = server.pids()
    begun = cpu_seconds(pids)
    for content_type, body in forms:
        answer = registry.request("POST", f"{registry.index}/", {"Content-Type": content_type}, body)
        if answer.status != HTTPStatus.OK:
            raise NotMeasured(f"an upload is answered {answer.status}: {answer.body[:300].decode(errors='replace')}")
    # What is done after the answer counts as well.
    time.sleep(0.5)
    return (cpu_seconds(pids) - begun) / len(forms) * 1e3


def _trust(sigstore: SigstoreProcess, registry: Registry, data: Path, folder: Path) -> None:
    """Have the policy and the instance's root signed by the ceremony of trust, with the keys in the data folder."""
    policy = folder / "policy.yaml"
    policy.write_bytes(builds.policy(_ATTESTED, level=3))
    deployment = _Deployment(f"http://{HOST}:{registry.server.port}", data)
    Holders(deployment, folder / "holders").sign({POLICY: policy, TRUSTED_ROOT: sigstore.trusted_root})
