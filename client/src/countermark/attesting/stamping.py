"""Time stamps of RFC 3161 for what a key of one's own signed: proof of when, from somebody else.

Source: RFC 3161 sections 2.4 and 3.4.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta

import httpx2
from rfc3161_client import TimestampRequestBuilder, decode_timestamp_response
from rfc3161_client.base import HashAlgorithm

from countermark.attesting.faults import AttestFailed, words
from countermark.core.attestations.bundle import MAX_STAMP
from countermark.transport import user_agent
from countermark.watchdog import Watchdog

_PATIENCE = timedelta(seconds=30)
_REMEDY = "Check --timestamp-url, or try again: nothing was written."


def stamp(url: str, signature: bytes) -> bytes:
    """Have a signature stamped; returns the response, DER.

    The stamp is read and compared with what was asked for. Whether its authority is one to trust says a trust root.

    Raises:
        AttestFailed: the authority cannot be reached in time, or its answer is no stamp of this signature.
    """
    request = TimestampRequestBuilder().hash_algorithm(HashAlgorithm.SHA256).data(signature).nonce(nonce=True).build()
    try:
        answer = _ask(url, request.as_bytes())
        stamped = decode_timestamp_response(answer)
        info = stamped.tst_info
        same = info.message_imprint.message == hashlib.sha256(signature).digest() and info.nonce == request.nonce
    except (httpx2.HTTPError, ValueError) as error:
        raise AttestFailed(f"{url} gave no time stamp: {words(error)}", _REMEDY) from error
    if not same:
        raise AttestFailed(f"{url} stamped something else than it was asked to", _REMEDY)
    return answer


def _ask(url: str, request: bytes) -> bytes:
    watchdog, seconds = Watchdog(), _PATIENCE.total_seconds()
    headers = {
        "User-Agent": user_agent(),
        "Content-Type": "application/timestamp-query",
        "Accept": "application/timestamp-reply",
        "Accept-Encoding": "identity",
    }
    with httpx2.Client(timeout=httpx2.Timeout(seconds)) as client, watchdog.armed(seconds):
        asked = client.build_request(
            "POST", url, content=request, headers=headers, extensions={"trace": watchdog.trace}
        )
        try:
            response = client.send(asked, stream=True, follow_redirects=False)
            if not response.is_success:
                raise ValueError(f"it answered {response.status_code}")
            answer = bytearray()
            for chunk in response.iter_raw():
                answer += chunk
                if len(answer) > MAX_STAMP:
                    raise ValueError(f"it answered more than {MAX_STAMP} bytes")
            return bytes(answer)
        finally:
            watchdog.close()
