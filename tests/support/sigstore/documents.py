"""The files that tell clients of an instance where its services are: signing config and client trust config.

Source: protobuf-specs, `SigningConfig` v0.2 and `ClientTrustConfig` v0.1; trust contract section 5.1.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from tests.support.sigstore.keys import period

TRUSTED_ROOT, SIGNING_CONFIG, CLIENT_TRUST_CONFIG = (
    "trusted_root.json",
    "signing_config.v0.2.json",
    "client_trust_config.json",
)


def signing_config(url: str, logs: Collection[int], *, stamped: bool = True) -> bytes:
    """Return where to sign.

    Args:
        url: of the instance, without a slash at the end.
        logs: versions of the transparency logs that are offered; clients take the newest that they know.
        stamped: whether time stamps are offered.
    """
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": [_service(url, 1)],
            "oidcUrls": [_service(f"{url}/oidc", 1)],
            "rekorTlogUrls": [_service(url, version) for version in sorted(logs, reverse=True)],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaUrls": [_service(f"{url}/api/v1/timestamp", 1)] if stamped else [],
            "tsaConfig": {"selector": "ANY"},
        }
    ).encode()


def client_trust_config(trusted_root: bytes, signing: bytes) -> bytes:
    """Return both in one."""
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": json.loads(trusted_root),
            "signingConfig": json.loads(signing),
        }
    ).encode()


def _service(url: str, version: int) -> dict[str, Any]:
    return {"url": url, "majorApiVersion": version, "validFor": period(), "operator": "test"}
