"""Whose keys a shared file lists. Pure.

Source: trust contract section 2.3.
"""

from __future__ import annotations

from collections.abc import Mapping

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Role, Root, Targets


def key_lists(signed: Root | Targets) -> Mapping[str, Role]:
    """Return role -> its threshold and key ids, of all roles whose keys a file lists; those of bins as `bins`."""
    if isinstance(signed, Root):
        return signed.roles
    if signed.delegations is None:
        return {}
    if signed.delegations.succinct_roles is not None:
        return {"bins": signed.delegations.succinct_roles}
    delegated: Mapping[str, DelegatedRole] = signed.delegations.roles or {}
    return delegated


def listed_keys(signed: Root | Targets) -> dict[str, Key]:
    """Return key id -> key, of all keys that a file lists; the mapping is the file's own."""
    if isinstance(signed, Root):
        return signed.keys
    return {} if signed.delegations is None else signed.delegations.keys
