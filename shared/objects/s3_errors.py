"""What an S3 library's error means, in words for an operator.

Source: S3 API reference, "Error responses".
"""

from __future__ import annotations

import ssl
from typing import Final

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)

_KEYS: Final = "check objects.access_key and objects.secret_key"
_UNKNOWN: Final = f"it does not know the access key; {_KEYS}"
_SLOW: Final = "it asks for fewer requests and did so to the last of several tries; try again later"
_EXPIRED: Final = "the session's credentials have expired; renew them where this process gets them from"
_REGION: Final = "the bucket is in another region; set objects.region"
_FULL: Final = "the store is full; make room or raise its quota"
_BROKEN: Final = "the connection broke, also when it was tried again; check the network and the store's log"
_FAILED: Final = "it failed inside, also when it was asked again; see its own log"
_DAMAGED: Final = "the bytes arrived damaged; try again, and check what lies between"

_ADVICE: Final = {
    "NoSuchBucket": "it does not exist; create it, or name another in objects.public_bucket or objects.private_bucket",
    "InvalidAccessKeyId": _UNKNOWN,
    "InvalidAccessKey": _UNKNOWN,
    "SignatureDoesNotMatch": f"the secret key does not match the access key; {_KEYS}",
    "AccessDenied": "these credentials may not do this; give them read, write, list and delete on the bucket",
    "403": f"these credentials may not do this, or are wrong; {_KEYS} and their rights on the bucket",
    "400": f"it does not understand; check objects.endpoint_url (https:// for TLS) and objects.region, and {_KEYS}",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": "it does not take the session's token; renew the credentials where this process gets them from",
    "RequestTimeTooSkewed": "the clocks of this machine and the store differ; set them right",
    "RequestExpired": "the clocks of this machine and the store differ; set them right",
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "PermanentRedirect": "the bucket is at another endpoint; set objects.region or objects.endpoint_url",
    "301": _REGION,
    "SlowDown": _SLOW,
    "ServiceUnavailable": _SLOW,
    "RequestLimitExceeded": _SLOW,
    "TooManyRequests": _SLOW,
    "429": _SLOW,
    "503": _SLOW,
    "InternalError": _FAILED,
    "500": _FAILED,
    "502": _FAILED,
    "504": _FAILED,
    "MethodNotAllowed": "it does not allow this here; it or the bucket may be read-only",
    "405": "it does not allow this here; it or the bucket may be read-only",
    "NotImplemented": "it lacks what is needed here: writing on condition of If-None-Match and If-Match",
    "NoSuchUpload": "the upload was given up by others; see the bucket's rules for unfinished uploads",
    "BadDigest": _DAMAGED,
    "XAmzContentSHA256Mismatch": _DAMAGED,
    "EntityTooLarge": "the object is larger than the store takes",
    "QuotaExceeded": _FULL,
    "InsufficientStorage": _FULL,
    "XMinioStorageFull": _FULL,
    "507": _FULL,
}
"""S3 error code (or HTTP status, where an answer has no body) -> what to do."""

_HOST_NAMES: Final = (62, 64)
"""OpenSSL's numbers for a certificate of another host name, or of another address (X509_V_ERR_HOSTNAME_MISMATCH)."""

_VALIDITY: Final = (9, 10)
"""OpenSSL's numbers for a certificate that is not yet valid, or no longer (X509_V_ERR_CERT_HAS_EXPIRED)."""


def code_of(error: ClientError) -> str:
    """Return the S3 error code, or the HTTP status where the answer had no body (HEAD)."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_missing(error: ClientError) -> bool:
    """Return whether there is no such object; the answer to a HEAD cannot tell a missing bucket apart."""
    return code_of(error) in ("NoSuchKey", "404", "NotFound")


def was_repeated(error: ClientError) -> bool:
    """Return whether the request was sent before, and an earlier sending may have worked unanswered."""
    return int(error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)) > 0


def advice(error: BaseException) -> str:
    """Say in one line what an operator can do about an error; names no secret."""
    match error:
        case ClientError():
            return _ADVICE.get(code_of(error)) or _words_of(error)
        case SSLError():
            return _about_tls(error.kwargs.get("error"))
        case NoCredentialsError() | PartialCredentialsError():
            return f"there are no credentials; {_KEYS}"
        case BotoCoreError() | aiohttp.ClientError() | TimeoutError():
            return _about_line(error)
        case _:
            return _told(error)


def _about_line(error: BotoCoreError | aiohttp.ClientError | TimeoutError) -> str:
    match error:
        case ReadTimeoutError() | TimeoutError():
            return "it did not answer in time"
        case EndpointConnectionError() if isinstance(error.kwargs.get("error"), aiohttp.ClientConnectorError):
            return "nothing answers there; check objects.endpoint_url and the network"
        case ConnectTimeoutError():
            return "nothing answers there; check objects.endpoint_url and the network"
        case EndpointConnectionError() | ConnectionClosedError():
            return f"{_BROKEN}; a port that speaks TLS needs https:// in objects.endpoint_url"
        case IncompleteReadError() | ResponseStreamingError() | aiohttp.ClientError():
            return _BROKEN
        case _:
            return _told(error)


def _words_of(error: ClientError) -> str:
    return f"it answered {code_of(error)}: {_line(str(error.response.get('Error', {}).get('Message', '')))}"


def _about_tls(cause: object) -> str:
    found = getattr(cause, "certificate_error", cause)
    if not isinstance(found, ssl.SSLCertVerificationError):
        return "it does not speak TLS as asked; objects.endpoint_url may have to begin with http://"
    if found.verify_code in _HOST_NAMES:
        return "its certificate is for another host name; set objects.endpoint_url to a name in the certificate"
    if found.verify_code in _VALIDITY:
        return "its certificate is not valid today; renew it, or set the clock of this machine right"
    return (
        "its certificate is from an authority that is not known here; set objects.ca_file to the authority's PEM file"
    )


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {_line(str(error))}"


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
