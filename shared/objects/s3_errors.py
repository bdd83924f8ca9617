"""What an S3 library's error means, in words for an operator.

Source: S3 API reference, "Error responses".
"""

from __future__ import annotations

from typing import Final

from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    SSLError,
)

_KEYS: Final = "check objects.access_key and objects.secret_key"
_SLOW: Final = "it asks for fewer requests; trying again later helps"

_ADVICE: Final = {
    "NoSuchBucket": "it does not exist; create it, or name another in objects.public_bucket or objects.private_bucket",
    "InvalidAccessKeyId": f"it does not know the access key; {_KEYS}",
    "InvalidAccessKey": f"it does not know the access key; {_KEYS}",
    "SignatureDoesNotMatch": f"the secret key does not match the access key; {_KEYS}",
    "AccessDenied": "these credentials may not do this; give them read, write, list and delete on the bucket",
    "403": f"these credentials may not do this, or are wrong; {_KEYS} and their rights on the bucket",
    "RequestTimeTooSkewed": "the clocks of this machine and the store differ; set them right",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set objects.region",
    "PermanentRedirect": "the bucket is at another endpoint; set objects.region or objects.endpoint_url",
    "301": "the bucket is in another region; set objects.region",
    "SlowDown": _SLOW,
    "ServiceUnavailable": _SLOW,
    "RequestLimitExceeded": _SLOW,
    "TooManyRequests": _SLOW,
    "429": _SLOW,
    "503": _SLOW,
    "EntityTooLarge": "the object is larger than the store takes",
    "QuotaExceeded": "the store is full",
    "InsufficientStorage": "the store is full",
}
"""S3 error code (or HTTP status, where an answer has no body) -> what to do."""


def code_of(error: ClientError) -> str:
    """Return the S3 error code, or the HTTP status where the answer had no body (HEAD)."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_missing(error: ClientError) -> bool:
    """Return whether there is no such object; the answer to a HEAD cannot tell a missing bucket apart."""
    return code_of(error) in ("NoSuchKey", "404", "NotFound")


def advice(error: BaseException) -> str:
    """Say what an operator can do about an error; names no secret."""
    match error:
        case ClientError():
            code = code_of(error)
            return (
                _ADVICE.get(code) or f"it answered {code}: {error.response.get('Error', {}).get('Message', '')[:200]}"
            )
        case SSLError():
            return "its certificate is not trusted here; name its authority in objects.ca_file"
        case EndpointConnectionError() | ConnectTimeoutError():
            return "nothing answers there; check objects.endpoint_url and the network"
        case ReadTimeoutError() | TimeoutError():
            return "it did not answer in time"
        case NoCredentialsError() | PartialCredentialsError():
            return f"there are no credentials; {_KEYS}"
        case _:
            return f"{type(error).__name__}: {str(error)[:200]}"
