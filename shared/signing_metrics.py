"""The metrics of signing. Labels are roles, and never indexes: their number does not grow with the deployment.

Source: trust contract section 2.7.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class SigningMetrics:
    """What a signing process counts, and what it finds when it looks at the catalogue."""

    def __init__(self, registry: CollectorRegistry, seconds: tuple[float, ...]) -> None:
        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"countermark_{name}", text, labels, registry=registry)

        self.expiry = gauge("expiry_smallest_seconds", "Until the first metadata of a role expires.", ("role",))
        self.short_indexes = gauge(
            "expiry_short_indexes", "Indexes with metadata of a role that is due for an alarm.", ("role",)
        )
        self.timestamp_age = gauge("timestamp_oldest_seconds", "Since the timestamp signed longest ago was signed.")
        self.changes_waiting = gauge("changes_waiting", "Changes that wait to be published.")
        self.changes_oldest = gauge("changes_oldest_seconds", "Age of the oldest change that waits to be published.")
        self.intents_open = gauge("intents_open", "Targets of batches that are not committed, or never were.")
        self.events_open = gauge("signing_events_open", "Signing events that wait for key holders.")
        self.seconds = Histogram(
            "countermark_signing_seconds", "Signing one batch and checking its signatures.",
            buckets=seconds, registry=registry,
        )  # fmt: skip
        self.fence_conflicts = Counter(
            "countermark_fence_conflicts", "Times a signer found that another had taken over.", registry=registry
        )
        self.tree_files = Counter(
            "countermark_tree_files", "Files of trees that tidying removed, put again, or could not make.", ["what"],
            registry=registry,
        )  # fmt: skip
        for what in ("removed", "put", "lost"):
            self.tree_files.labels(what)
