"""Measures what signing a batch costs with keys on a token, beside keys in files."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata

from bench.errors import NotMeasured
from bench.report import MILLISECONDS, Figure, Row
from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.names import IndexName, TargetPath
from countermark.core.signing.access import KeyAccess
from countermark.core.signing.making import make_key
from services.signing.keys.signers import ONLINE, KeyHandle, Signers, by_role, generate_key
from services.signing.publication.signatures import SigningRequest, sign_batch
from shared.catalogue.publication_rows import CurrentFile
from shared.catalogue.trust import StoredTrustFile
from shared.trust.metadata import (
    Entries,
    TargetEntry,
    registry_metadata,
    root_metadata,
    set_target,
    succinct_roles_of,
    targets_metadata,
    trust_metadata,
)
from shared.trust.roles import PROFILES, SHARED, Role

_MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
"""Where Debian puts SoftHSM."""

_LABEL, _PIN = "bench", "271828"
_TIMES = 2.0
"""How many times the cost of files is accepted."""

_PROFILE = PROFILES["development"]
_INDEX = IndexName("bench", "keys")
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def measure_keys(batch: int, pointers: int, rounds: int, folder: Path) -> Iterator[Row]:
    """Yield the row about tokens.

    Args:
        batch: files that are published together, each by pointer, latest and page.
        pointers: what the index has already.
        rounds: batches that are signed by each kind of key, in turn.
        folder: empty folder for keys and tokens.
    """
    access = _token_access(folder)
    places = {"SoftHSM": f"hsm:?label={_LABEL}", "files": "file2:online-{role}.pem"}
    made = {kind: _deployment(place, access) for kind, place in places.items()}
    spent: dict[str, list[float]] = {kind: [] for kind in made}
    for number in range(rounds + 1):
        for kind, (signers, shared) in made.items():
            request = _request(shared, pointers, batch, number)
            began = time.process_time()
            sign_batch(signers, request)
            if number:
                spent[kind].append(time.process_time() - began)
    token, files = (statistics.median(spent[kind]) * 1000 for kind in ("SoftHSM", "files"))
    label = f"signing {batch} files into {pointers:,}, keys in SoftHSM: CPU"
    yield Figure(label, token, MILLISECONDS).beside("keys in files", files, at_most=_TIMES)


def _token_access(folder: Path) -> KeyAccess:
    """Make a token and return the means to reach it and the folder."""
    program = shutil.which("softhsm2-util")
    if program is None or not _MODULE.exists():
        raise NotMeasured("SoftHSM is not installed (Debian's package softhsm2)")
    tokens, configuration = folder / "tokens", folder / "softhsm2.conf"
    tokens.mkdir()
    configuration.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    # Its library reads this variable and no other setting.
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    command = [program, "--init-token", "--free", "--label", _LABEL, "--pin", _PIN, "--so-pin", _PIN]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return KeyAccess(folder=folder, secret=lambda wanted: _PIN, module=str(_MODULE))


def _deployment(place: str, access: KeyAccess) -> tuple[Signers, Mapping[str, StoredTrustFile]]:
    """Make online keys at a place and shared files that name them."""
    offline = [generate_key(access.folder, role) for role in SHARED for _ in range(_PROFILE.roles[role].keys)]
    found = {role: make_key(place.format(role=role), access) for role in ONLINE}
    online = [KeyHandle(role, key.key, key.uri) for role, key in found.items()]
    keys, signers = by_role([*offline, *online]), Signers(offline, access)
    expires = {role: _NOW + _PROFILE.roles[role].lifetime for role in SHARED}
    unsigned: dict[Role, Metadata[Any]] = {
        Role.ROOT: root_metadata(_PROFILE, keys, 1, expires[Role.ROOT]),
        Role.TARGETS: targets_metadata(_PROFILE, keys, 1, expires[Role.TARGETS]),
        Role.TRUST: trust_metadata(1, expires[Role.TRUST]),
        Role.REGISTRY: registry_metadata(keys, _PROFILE.bin_bits, 1, expires[Role.REGISTRY]),
    }
    shared = {
        role.value: StoredTrustFile(
            role.value, 1, expires[role], signers.sign(role, metadata, _PROFILE.roles[role].threshold)
        )
        for role, metadata in unsigned.items()
    }
    return Signers(online, access), shared


def _request(shared: Mapping[str, StoredTrustFile], pointers: int, batch: int, number: int) -> SigningRequest:
    """Return a batch of new projects for bins that have targets already, with objects of its own to be edited."""
    registry = succinct_roles_of(shared["registry"].content)
    names = list(registry.get_roles())
    bins: dict[str, Entries] = {name: {} for name in names}
    for entry in _targets("old", range(pointers // 3)):
        set_target(bins[registry.get_role_for_target(entry.path)], entry)
    changes: dict[str, tuple[list[TargetEntry], list[TargetPath]]] = {}
    for entry in _targets(f"new-{number}", range(batch)):
        changes.setdefault(registry.get_role_for_target(entry.path), ([], []))[0].append(entry)
    expires = _NOW + _PROFILE.roles[Role.BINS].lifetime
    return SigningRequest(
        index=_INDEX,
        profile=_PROFILE,
        now=_NOW,
        version=2 + number,
        shared=shared,
        bin_names=names,
        bins={name: CurrentFile(name, 1, expires) for name in names},
        taken={name: bins[name] for name in changes},
        changes=changes,
        snapshot=None,
    )


def _targets(prefix: str, numbers: Sequence[int]) -> Iterator[TargetEntry]:
    for number in numbers:
        project = f"{prefix}-{number:06}"
        for name, kind in (
            (f"{project}-1.0-py3-none-any.whl.pointer", "pointer/v1"),
            ("_latest.pointer", "pointer/v1"),
            ("_simple.json", "page/v1"),
        ):
            path = TargetPath(f"pointers/{project}/{name}")
            yield TargetEntry(path, Sha256(sha256_of(path.encode())), Length(900), kind)
