"""What a push takes along, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from countermark.core.digest import Sha256
from countermark.core.names import FileName
from services.upload.push_rules import ActionLine
from shared.catalogue.promotion_rows import Carried, CarriedAttachment, CarriedAttestation, SourceRelease
from shared.ids import FileId
from shared.objects.interface import Key

MAX_FILES = 2000
"""Files of one push."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a push takes along: by name, already without what it leaves out.

    Attributes:
        fetched: of a mirror's files, the keys under which their bytes lie.
        provenance: of a mirror's files, their provenance objects, of which nothing is verified yet.
        attestations: of files, verified when they were added; those of mirrors when they were brought here.
        bundles: the bytes of attestations that are at hand, by their digest; all others are in the store.
        told: what else the client is to be told.
    """

    release: SourceRelease
    files: Sequence[Carried]
    attachments: Sequence[CarriedAttachment]
    fetched: Mapping[FileName, Key] = field(default_factory=dict)
    provenance: Mapping[FileId, bytes] = field(default_factory=dict)
    attestations: Sequence[CarriedAttestation] = ()
    bundles: Mapping[Sha256, bytes] = field(default_factory=dict)
    told: Sequence[ActionLine] = ()
