"""Settings: how often something may be tried."""

from __future__ import annotations

from pydantic import Field

from shared.settings_section import Section


class RateLimits(Section):
    """How often something may be tried; 0 switches a limit off. Reads have none."""

    writes_by_address: int = Field(24_000, ge=0, description="writes per minute from one address")
    writes_by_token: int = Field(12_000, ge=0, description="writes per minute with one token or password")
    logins_by_address: int = Field(60, ge=0, description="logins begun per five minutes from one address")
    passwords_by_address: int = Field(30, ge=0, description="passwords or owner links per five minutes, one address")
    passwords_by_account: int = Field(10, ge=0, description="passwords per five minutes for one account")
    mints_by_address: int = Field(
        300, ge=0, description="identity tokens per five minutes that one address exchanges or tries to"
    )


NO_LIMITS = RateLimits(
    writes_by_address=0,
    writes_by_token=0,
    logins_by_address=0,
    passwords_by_address=0,
    passwords_by_account=0,
    mints_by_address=0,
)
