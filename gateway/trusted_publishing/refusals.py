"""Why an identity token is not exchanged, in the codes that clients know. Pure.

Source: contract python-index section 3.1.
"""

from __future__ import annotations

from typing import Literal

Code = Literal[
    "invalid-payload",
    "not-enabled",
    "invalid-token",
    "invalid-publisher",
    "invalid-pending-publisher",
    "invalid-reuse-token",
]


class MintRefused(Exception):
    """An identity token is not exchanged.

    Attributes:
        description: one sentence or more for whoever reads the log of the job.
    """

    def __init__(self, code: Code, description: str) -> None:
        self.code = code
        self.description = description
        super().__init__(f"{code}: {description}")
