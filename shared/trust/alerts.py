"""How long before its end a role's metadata is a matter for people: then whoever signs it has not done so. Pure.

Source: trust contract section 2.7.
"""

from __future__ import annotations

from datetime import timedelta

from shared.trust.roles import Role

ALERT_BELOW = {
    Role.TIMESTAMP: timedelta(hours=12),
    Role.SNAPSHOT: timedelta(days=2),
    Role.BINS: timedelta(days=5),
    Role.REGISTRY: timedelta(days=14),
    Role.TRUST: timedelta(days=14),
    Role.TARGETS: timedelta(days=30),
    Role.ROOT: timedelta(days=30),
}
"""Each is less than what is left when the role is signed again as it should be."""
