"""The catalogue's tables: the only truth. Each has one writing service, named by its module.

Rows are marked, never deleted (a URL must answer 410, names stay burnt, versions go on). Table classes never leave
`shared.catalogue`: rules and renderers get frozen dataclasses from `shared.catalogue.queries`.
Source: architecture section 11.1; trust contract section 2.6.
"""

from shared.catalogue.tables.approvals import ApprovalDemand, ApprovalGiven, ApprovalKey, ApprovalRequest
from shared.catalogue.tables.attestation import Attestation, ProvenanceDue
from shared.catalogue.tables.base import Base, Json
from shared.catalogue.tables.ceremony import EventSignature, KeyHolder, SigningEvent, TrustTarget
from shared.catalogue.tables.common import Audit, Outbox
from shared.catalogue.tables.download import DownloadCount, Fetch, MirrorFault, MirrorFile
from shared.catalogue.tables.gateway import (
    Account,
    Deployment,
    Grant,
    IndexBase,
    IndexRow,
    OwnerLink,
    PolicyExemption,
    Publisher,
    Token,
    TokenUse,
    UsedIdentity,
)
from shared.catalogue.tables.index import (
    Advisory,
    AdvisoryAffected,
    AdvisorySnapshot,
    Laid,
    LaidProvenance,
    MirrorJson,
    MirrorPage,
)
from shared.catalogue.tables.signing import (
    AuditChain,
    AuditHead,
    Intent,
    Journal,
    KeyHandle,
    Lease,
    Page,
    Publication,
    PublishedFile,
    Tidying,
    TrustFile,
    TufFile,
    TufHead,
)
from shared.catalogue.tables.upload import Attachment, File, Project, Release, StoredObject

__all__ = [
    "Account",
    "Advisory",
    "AdvisoryAffected",
    "AdvisorySnapshot",
    "ApprovalDemand",
    "ApprovalGiven",
    "ApprovalKey",
    "ApprovalRequest",
    "Attachment",
    "Attestation",
    "Audit",
    "AuditChain",
    "AuditHead",
    "Base",
    "Deployment",
    "DownloadCount",
    "EventSignature",
    "Fetch",
    "File",
    "Grant",
    "IndexBase",
    "IndexRow",
    "Intent",
    "Journal",
    "Json",
    "KeyHandle",
    "KeyHolder",
    "Laid",
    "LaidProvenance",
    "Lease",
    "MirrorFault",
    "MirrorFile",
    "MirrorJson",
    "MirrorPage",
    "Outbox",
    "OwnerLink",
    "Page",
    "PolicyExemption",
    "Project",
    "ProvenanceDue",
    "Publication",
    "PublishedFile",
    "Publisher",
    "Release",
    "SigningEvent",
    "StoredObject",
    "Tidying",
    "Token",
    "TokenUse",
    "TrustFile",
    "TrustTarget",
    "TufFile",
    "TufHead",
    "UsedIdentity",
]
