"""Keys in key services: Vault's Transit engine and the clouds' KMS, through securesystemslib.

The libraries are extras of this distribution, loaded when a URI asks for one. Credentials are the service's own ambient
ones (`VAULT_TOKEN`, `AWS_PROFILE`, a workload's identity ...). Source: securesystemslib, `securesystemslib.signer`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from base64 import b64decode
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib import signer
from securesystemslib.signer import Key, Signer, SSlibKey

from countermark.core.signing.access import KeyAccess
from countermark.core.signing.faults import KeyUnusable, words
from countermark.core.signing.uris import VAULT, KeyUri, VaultPlace, parse_vault

_NEEDED = {
    VAULT: ("hvac", "vault"),
    "awskms": ("boto3", "awskms"),
    "gcpkms": ("google.cloud.kms", "gcpkms"),
    "azurekms": ("azure.keyvault.keys", "azurekms"),
}
"""Scheme -> the module it needs, and the extra that brings it along."""

_SIGNERS = {VAULT: "VaultSigner", "awskms": "AWSSigner", "gcpkms": "GCPSigner", "azurekms": "AzureSigner"}
"""Scheme -> the class of `securesystemslib.signer`."""

_LOADING = threading.Lock()
_LOADED: dict[str, Any] = {}
"""Scheme -> its class, once its library was loaded."""

REMEDIES = {
    VAULT: "See that VAULT_ADDR and VAULT_TOKEN are right, Vault is unsealed, and the token's policy allows "
    "update on transit/sign/<name>.",
    "awskms": "See that AWS_DEFAULT_REGION and credentials are set, and the key's policy allows kms:Sign and "
    "kms:GetPublicKey.",
    "gcpkms": "See that GOOGLE_APPLICATION_CREDENTIALS is set, and the account has roles/cloudkms.signerVerifier.",
    "azurekms": "See that the workload's identity is set, and has the role Key Vault Crypto User.",
}
"""Scheme -> what to look at when its service refuses."""


def open_service_key(uri: KeyUri, key: Key, access: KeyAccess) -> Signer:
    """Return the signer of an `hv:`, `awskms:`, `gcpkms:` or `azurekms:` URI.

    Raises:
        KeyUnusable: the library is missing, or the service's settings are.
    """
    check_library(uri.scheme, access)
    if uri.scheme == VAULT and parse_vault(uri).version is None:
        raise KeyUnusable("the hv: URI names no version", "Write hv:<name>/<version>; `countermark key show` tells it.")
    return asked(uri.scheme, lambda: _signer_of(uri.scheme).from_priv_key_uri(str(uri), key))


def _signer_of(scheme: str) -> Any:
    """Return securesystemslib's signer of a scheme, with the library that it needs: it may have been loaded without
    (`sparing`). Its interface says Any where the libraries do."""
    name = _SIGNERS[scheme]
    with _LOADING:
        if scheme not in _LOADED:
            without = getattr(signer, name)
            _LOADED[scheme] = getattr(importlib.reload(sys.modules[without.__module__]), name)
        return _LOADED[scheme]


def asked(scheme: str, call: Callable[[], Signer]) -> Signer:
    """Return what a call of a key service's library returns, with its many errors as one.

    Raises:
        KeyUnusable: it failed.
    """
    try:
        return call()
    except Exception as error:
        raise service_fault(scheme, error) from error


def service_fault(scheme: str, error: Exception) -> KeyUnusable:
    """Return in words how a key service failed."""
    return KeyUnusable(f"{scheme}: {words(error)}", REMEDIES[scheme])


def public_in_service(uri: KeyUri, access: KeyAccess) -> tuple[SSlibKey, str]:
    """Return the public half of a key in a service, and its full URI.

    Raises:
        KeyUnusable: it cannot be had.
    """
    check_library(uri.scheme, access)
    try:
        return _imported(uri)
    except KeyUnusable:
        raise
    except Exception as error:
        raise service_fault(uri.scheme, error) from error


def make_in_vault(uri: KeyUri, access: KeyAccess) -> tuple[SSlibKey, str]:
    """Make an Ed25519 key in Vault's Transit engine that cannot be exported; returns its public half and its URI.

    Raises:
        KeyUnusable: there is a key of that name, or Vault cannot be used.
    """
    check_library(uri.scheme, access)
    import hvac  # noqa: PLC0415 - an extra

    place = parse_vault(uri)
    try:
        transit = hvac.Client().secrets.transit
        if place.name in _keys_of(transit):
            raise KeyUnusable(f"Vault has a key {place.name} already", "Name another; nothing was changed.")
        transit.create_key(place.name, key_type="ed25519", exportable=False, allow_plaintext_backup=False)
        return _imported(KeyUri(VAULT, place.name))
    except KeyUnusable:
        raise
    except Exception as error:
        raise service_fault(VAULT, error) from error


def check_library(scheme: str, access: KeyAccess) -> None:
    """Refuse a scheme whose library is not installed, or whose service is not named.

    Raises:
        KeyUnusable: says which extra to install, or what to set.
    """
    module, extra = _NEEDED[scheme]
    try:
        is_there = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        is_there = False
    if not is_there:
        raise KeyUnusable(
            f"keys of {scheme}: need the library {module}, which is not installed", f"Install countermark[{extra}]."
        )
    if scheme == VAULT and not access.environ.get("VAULT_ADDR"):
        raise KeyUnusable("VAULT_ADDR is not set", "Set it to the https URL of Vault or OpenBao.")


def _keys_of(transit: object) -> list[str]:
    from hvac.exceptions import InvalidPath  # noqa: PLC0415 - an extra

    try:
        answer = transit.list_keys()  # type: ignore[attr-defined]
    except InvalidPath:
        return []
    return cast("list[str]", answer["data"]["keys"])


def _imported(uri: KeyUri) -> tuple[SSlibKey, str]:
    if uri.scheme == VAULT:
        return _imported_from_vault(parse_vault(uri))
    if uri.scheme == "awskms":
        # The clouds' libraries say Any of what they return.
        full, key = _signer_of(uri.scheme).import_(uri.place, "ecdsa-sha2-nistp256")
    elif uri.scheme == "gcpkms":
        full, key = _signer_of(uri.scheme).import_(uri.place)
    else:
        parts = urlsplit(f"{uri.scheme}:{uri.place}")
        full, key = _signer_of(uri.scheme).import_(parts.netloc.split(".")[0], parts.path.split("/")[2])
    assert isinstance(key, SSlibKey)
    return key, full


def _imported_from_vault(place: VaultPlace) -> tuple[SSlibKey, str]:
    import hvac  # noqa: PLC0415 - an extra

    answer = hvac.Client().secrets.transit.read_key(place.name)["data"]
    if answer["type"] != "ed25519":
        raise KeyUnusable(f"Vault's key {place.name} is of type {answer['type']}", "It has to be ed25519.")
    version = max(map(int, answer["keys"])) if place.version is None else place.version
    if str(version) not in answer["keys"]:
        raise KeyUnusable(f"Vault's key {place.name} has no version {version}", "Name one that it has.")
    public = Ed25519PublicKey.from_public_bytes(b64decode(answer["keys"][str(version)]["public_key"]))
    return SSlibKey.from_crypto(public), str(VaultPlace(place.name, version))
