"""What the tests of reading ask for."""

import hashlib

JSON = "application/vnd.pypi.simple.v1+json"
V1_HTML = "application/vnd.pypi.simple.v1+html"
PIP = f"{JSON}, {V1_HTML}; q=0.1, text/html; q=0.01"
WHEEL = "thing-1.0-py3-none-any.whl"
METADATA = b"Metadata-Version: 2.4\nName: thing\nVersion: 1.0\n"
PAGE = "/root/stable/+simple/thing/"


LARGE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(40_000))
"""1.28 MB: streamed, in several chunks."""
