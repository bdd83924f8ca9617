"""What the catalogue keeps of an attestation, wherever it is read, written or carried. Pure values.

Source: ADR 0037.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from countermark.core.digest import Length, Sha256
from shared.ids import FileId, TokenId


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationRow:
    """An attestation of a file.

    Attributes:
        sha256: of the bundle's bytes, which lie at `file_key(sha256, object_name(file_name))` on the index's side.
        length: bytes of the bundle.
        publisher: what a PEP 740 object calls so, with `claims`; None for bundles that came as such.
        facts: what verification found, as `VerifiedBundle.to_document` has it; never evidence by itself.
        named: whether it is the one build provenance, or the one summary in its place, that the file's pointer is to
            name.
        added_by: the account, None for nobody known.
    """

    file_id: FileId
    sha256: Sha256
    length: Length
    predicate_type: str
    origin: str
    publisher: Mapping[str, Any] | None
    facts: Mapping[str, Any]
    named: bool
    added_at: datetime
    added_by: str | None
    token_id: TokenId | None
