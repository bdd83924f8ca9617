"""Which requests the ingress takes straight to a service, past the gateway. Pure.

Reads that are answered from memory or streamed go straight: a hop through the gateway costs many times what the answer
does. All else, and whatever is not written in the one plain way, goes to the gateway, which refuses or routes it.
What is matched is the request line as sent, so that nothing is decoded, merged or resolved before a service reads it.
Source: architecture sections 3 and 9; `gateway.routes`, which it has to agree with.
"""

from __future__ import annotations

_PLUS = r"(?:\+|%2[Bb])"
"""A plus in a path; clients send either (contract python-index section 1.1.6)."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"

_PLAIN = r"(?!.*(?://|/\.\.?(?:/|\?|$)|%(?!2[Bb])|\x5c))"
"""No empty or dotted segment, and nothing encoded but a plus."""

_END = r"(?:/|\?|$)"

_INDEX = rf"/(?!(?:api|v1|simple|pypi|legacy)/){_NAME}/{_NAME}"

_BASE = rf"(?:/legacy|{_INDEX})?"
"""What a face stands below: an index, the upload URL of the default index, or the root."""

_READ = rf"^(?:GET|HEAD) {_PLAIN}"

ROUTES: tuple[tuple[str, str], ...] = (
    (rf"{_READ}{_BASE}/{_PLUS}tuf/(?:files|attestations)/", "download"),
    (rf"{_READ}{_BASE}/{_PLUS}tuf/", "index"),
    (rf"{_READ}{_BASE}/{_PLUS}(?:f|integrity)/", "download"),
    (rf"{_READ}{_BASE}/{_PLUS}simple{_END}", "index"),
    (rf"{_READ}/simple{_END}", "index"),
    (rf"{_READ}{_BASE}/pypi/", "index"),
    (rf"{_READ}/v1/vulns/", "index"),
    (rf"^POST {_PLAIN}/v1/query", "index"),
    (rf"{_READ}/api/v1/indexes/{_NAME}/{_NAME}/(?:publications|head|explain|holds|mirrors){_END}", "index"),
    (rf"{_READ}/api/v1/indexes/{_NAME}/{_NAME}/(?:downloads|attestations){_END}", "download"),
    (rf"{_READ}/api/v1/verify/", "download"),
)
"""Regular expression over `METHOD request-target` -> service; the first that matches counts, else it is the gateway.

Written in what the regular expressions of nginx and of Python have in common.
"""
