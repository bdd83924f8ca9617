"""Attestations signed without a key of one's own: an identity for a moment, a certificate, a log. Imports sigstore.

The stock library signs, unmodified; here is only what it is given. Source: trust contract section 5.2.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sigstore import dsse
from sigstore.models import ClientTrustConfig, TrustedRoot
from sigstore.oidc import IdentityToken, Issuer, detect_credential
from sigstore.sign import Signer, SigningContext
from sigstore_models.trustroot import v1 as models

from countermark.attesting.device import Shown, device_token
from countermark.attesting.faults import AttestFailed, words
from countermark.core.errors import LocalState

MAX_CONFIG_BYTES = 2 << 20
"""Bytes of a client trust config: a trust root and some addresses."""

_NO_IDENTITY = (
    "In a pipeline, let it have an OIDC token (GitHub: permissions: id-token: write; GitLab: id_tokens: with "
    "SIGSTORE_ID_TOKEN and the audience sigstore). By hand, run this on a terminal, or give --device, --identity-token "
    "or --key."
)

_LOGLESS = (
    "By an identity nothing is signed where there is no transparency log. With a certificate of an authority of your "
    "own and its time stamps: --key URI --certificate FILE --timestamp-url URL."
)

_NO_PUBLIC = (
    "Signing by an identity needs the network, without --trust-config that of the public instance: check it and try "
    "again. For another instance give --trust-config FILE, which whoever runs it hands out; with --key nothing but a "
    "time stamp needs the network."
)


@dataclass(frozen=True, slots=True)
class Instance:
    """A Sigstore instance: where it signs, and what its signatures are checked against."""

    config: ClientTrustConfig
    name: str

    @property
    def trusted_root(self) -> bytes:
        """Its trust root."""
        return self.config._inner.trusted_root.to_json().encode()  # noqa: SLF001 - no public way to the document


@dataclass(frozen=True, slots=True)
class Asking:
    """How an identity is asked for.

    Attributes:
        token: one that a person gave.
        is_person: whether somebody sits there who can be sent to a browser.
        opens_browser: else an address is printed, to be opened elsewhere, and a code asked for.
        device: shows what to confirm on another device, which is then how somebody signs in.
    """

    token: str | None = None
    is_person: bool = False
    opens_browser: bool = True
    device: Callable[[Shown], None] | None = None


@dataclass(frozen=True, slots=True)
class Keyless:
    """Signs while an identity lasts."""

    signer: Signer
    identity: str

    def sign(self, payload: bytes) -> bytes:
        """Return a bundle of a Statement v1.

        Raises:
            AttestFailed: the library does not take the statement, or a service does not answer as it should.
        """
        try:
            statement = dsse.Statement(payload)
        except Exception as error:
            raise AttestFailed(f"the statement is none that the library signs: {words(error)}") from error
        try:
            return self.signer.sign_dsse(statement).to_json().encode()
        except Exception as error:
            # Each service's client has errors of its own, and requests' come through.
            raise AttestFailed(f"the statement was not signed: {words(error)}", "Try again.") from error


def read_instance(path: Path | None, rekor: int | None = None) -> Instance:
    """Return the instance of a client trust config; without one the public instance.

    Args:
        rekor: 1 or 2, the version of its transparency log. None: the first, where the instance has one: what it
            records can be carried by a PEP 740 attestation, and of the second can not (trust contract section 5.2).

    Raises:
        LocalState: the file cannot be read.
        AttestFailed: it is no client trust config, the public one cannot be had, or it has no such log.
    """
    name = "the public instance" if path is None else str(path)
    try:
        config = ClientTrustConfig.production() if path is None else _config(path)
    except OSError as error:
        raise LocalState(f"cannot read {name}: {error.strerror or error}", "Check --trust-config.") from error
    except Exception as error:
        remedy = _NO_PUBLIC if path is None else "It holds trustedRoot and signingConfig; ask who runs the instance."
        raise AttestFailed(f"{name} has no usable client trust config: {words(error)}", remedy) from error
    for version in (1, None) if rekor is None else (rekor,):
        config.force_tlog_version = version
        try:
            _ = config.signing_config
        except Exception as error:
            # How the library says that no service is left to sign with.
            why, logless = words(error), not config._inner.signing_config.rekor_tlog_urls  # noqa: SLF001 - as above
        else:
            return Instance(config, name)
    remedy = _LOGLESS if logless else "With --rekor-version, leave it away."
    raise AttestFailed(f"{name} is none to sign with: {why}", remedy)


def read_root(path: Path) -> bytes:
    """Return the trust root in a file: of a client trust config, or the root itself.

    Raises:
        LocalState: it cannot be read.
        AttestFailed: it holds neither.
    """
    try:
        document = json.loads(_text(path))
        root = document.get("trustedRoot", document)
        TrustedRoot(models.TrustedRoot.from_json(json.dumps(root)))
        return json.dumps(root).encode()
    except OSError as error:
        raise LocalState(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:
        raise AttestFailed(f"{path} holds no trust root: {words(error)}", "Ask who runs the authority.") from error


def find_identity(instance: Instance, asking: Asking) -> IdentityToken:
    """Return an identity: the given token, else the pipeline's, else one that a person gets in a browser.

    Raises:
        AttestFailed: there is none, or it is not usable.
    """
    try:
        token = asking.token or detect_credential()
        if token:
            return IdentityToken(token)
        if asking.device is None and not asking.is_person:
            raise AttestFailed("there is no identity to sign as", _NO_IDENTITY)
        provider = instance.config.signing_config.get_oidc_url()
        if asking.device is not None:
            return IdentityToken(device_token(provider, asking.device))
        issuer = Issuer(provider)
        # It asks for the code on the output stream, which is for results.
        with contextlib.redirect_stdout(sys.stderr):
            return issuer.identity_token(force_oob=not asking.opens_browser)
    except AttestFailed:
        raise
    except Exception as error:
        raise AttestFailed(f"there is no usable identity: {words(error)}", _NO_IDENTITY) from error


@contextlib.contextmanager
def signing(instance: Instance, identity: IdentityToken) -> Iterator[Keyless]:
    """Yield what signs: one certificate, for all statements of the block.

    Raises:
        AttestFailed: the authority gives no certificate.
    """
    with contextlib.ExitStack() as stack:
        try:
            context = SigningContext.from_trust_config(instance.config)
            signer = stack.enter_context(context.signer(identity))
        except Exception as error:
            raise AttestFailed(f"{instance.name} gave no certificate: {words(error)}", "Try again.") from error
        yield Keyless(signer, identity.identity)


def _config(path: Path) -> ClientTrustConfig:
    text = _text(path)
    document = json.loads(text)
    # Said here in a few words; the library lists each of its own fields.
    absent = {"trustedRoot", "signingConfig"} - (document.keys() if isinstance(document, dict) else set())
    if absent:
        raise ValueError(f"{' and '.join(sorted(absent))} missing")
    return ClientTrustConfig.from_json(text)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAX_CONFIG_BYTES + 1)
    if len(content) > MAX_CONFIG_BYTES:
        raise ValueError(f"it has more than {MAX_CONFIG_BYTES} bytes")
    return content.decode()
