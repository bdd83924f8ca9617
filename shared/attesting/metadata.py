"""Answers questions about metadata, in the process that has the TUF library and no secrets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from countermark.core.names import parse_index_name
from shared.trust.chain import check_metadata, check_trust
from shared.trust.links import Served, TrustFiles


def metadata_answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what holds of an index's metadata.

    Args:
        asked: `served` as a document, `index`, `target`, `now` in seconds since 1970.
    """
    served = Served.from_document(asked["served"])
    moment = datetime.fromtimestamp(asked["now"], UTC)
    return {"report": check_metadata(served, parse_index_name(asked["index"]), asked["target"], moment).to_document()}


def trust_answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the trust role signs, or why its file is not believed.

    Args:
        asked: `files` as a document.
    """
    return {"report": check_trust(TrustFiles.from_document(asked["files"])).to_document()}
