"""Signing in without a browser on this machine: a code is shown, and confirmed on another device.

The stock library opens a browser, or asks for a code to be typed; neither works where nobody can type.
Source: RFC 8628 sections 3.1 to 3.5; RFC 7636 (PKCE); OpenID Connect Discovery 1.0 section 4.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from countermark.attesting.faults import AttestFailed, words
from countermark.location import origin_of
from countermark.publish import printable
from countermark.transport import user_agent
from countermark.watchdog import Watchdog

CLIENT_ID = "sigstore"
"""As whom Sigstore's providers know all clients, and the audience of their tokens."""

_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_SECONDS = 30
_MAX_ANSWER = 64 << 10
_LONGEST_WAIT = 900
"""Seconds in which a person confirms, at the most."""

_REMEDY = "Try again, or sign in by a browser (without --device)."

Wait = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a person is shown.

    Attributes:
        url: to open on any device.
        code: to confirm there.
        full_url: with the code in it; None where the provider has none.
    """

    url: str
    code: str
    full_url: str | None


def device_token(provider: str, show: Callable[[Shown], None], wait: Wait = time.sleep) -> str:
    """Return an identity token that a person gets by another device.

    Args:
        provider: address of the identity provider.
        show: shows the person what to open and confirm.
        wait: between looks whether they did.

    Raises:
        AttestFailed: the provider has no such flow, cannot be reached, or the person refused or took too long.
    """
    try:
        return _signed_in(provider.rstrip("/"), show, wait)
    except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        raise AttestFailed(f"{provider} did not sign you in: {words(error)}", _REMEDY) from error


def _signed_in(provider: str, show: Callable[[Shown], None], wait: Wait) -> str:
    found = _asked("GET", f"{provider}/.well-known/openid-configuration")[1]
    if "device_authorization_endpoint" not in found:
        raise ValueError("it knows no sign-in by another device")
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    wanted = {
        "client_id": CLIENT_ID,
        "scope": "openid email",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    status, begun = _asked("POST", str(found["device_authorization_endpoint"]), wanted)
    if status != 200:
        raise ValueError(_said(begun))
    full = begun.get("verification_uri_complete")
    full = None if full is None else printable(str(full))
    show(Shown(printable(str(begun["verification_uri"])), printable(str(begun["user_code"])), full))
    proof = {
        "grant_type": _GRANT,
        "client_id": CLIENT_ID,
        "device_code": str(begun["device_code"]),
        "code_verifier": verifier,
    }
    pause, left = max(1, int(begun.get("interval", 5))), min(int(begun.get("expires_in", 300)), _LONGEST_WAIT)
    while left > 0:
        wait(pause)
        left -= pause
        status, answer = _asked("POST", str(found["token_endpoint"]), proof)
        if status == 200:
            return str(answer.get("id_token") or answer["access_token"])
        if answer.get("error") == "slow_down":
            pause += 5
        elif answer.get("error") != "authorization_pending":
            raise ValueError(_said(answer))
    raise ValueError("the code was not confirmed in time")


def _asked(method: str, url: str, form: Mapping[str, str] | None = None) -> tuple[int, Mapping[str, Any]]:
    """Return status and document of an answer; what is sent is a secret, so it goes over TLS or to this machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and origin_of(parts).is_loopback):
        raise ValueError("it names an address that is not https")
    watchdog = Watchdog()
    headers = {"User-Agent": user_agent(), "Accept": "application/json", "Accept-Encoding": "identity"}
    with httpx2.Client(timeout=httpx2.Timeout(_SECONDS)) as client, watchdog.armed(_SECONDS):
        try:
            request = client.build_request(
                method, url, data=form, headers=headers, extensions={"trace": watchdog.trace}
            )
            response = client.send(request, stream=True, follow_redirects=False)
            answer = bytearray()
            for chunk in response.iter_raw():
                answer += chunk
                if len(answer) > _MAX_ANSWER:
                    raise ValueError(f"it answered more than {_MAX_ANSWER} bytes")
        finally:
            watchdog.close()
    document = json.loads(answer)
    if not isinstance(document, dict):
        raise TypeError("it answered no JSON object")
    return response.status_code, document


def _said(answer: Mapping[str, Any]) -> str:
    """Return what an error says. Source: RFC 6749 section 5.2."""
    return printable(str(answer.get("error_description") or answer.get("error") or "it gave no reason"))
