"""What one process counts and tells Prometheus, on a listener of its own that is not for the outside.

Every metric is made here, so that one look shows them all; docs/operating.md says what each is for. Labels have few
values: kinds of paths, never paths; indexes only where they are bounded. Hot reads cost two dictionary operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.faces import FaceKind, parse_face
from shared.signing_metrics import SigningMetrics

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
"""Bounds of all durations, in seconds."""

_COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)
"""Bounds of sizes of batches."""

INDEXES_SHOWN = 100
"""Indexes that have metrics of their own at the most: those whose metadata expires first."""

_REMEMBERED = 1024
"""Children of a metric that are found without `labels`, which costs twice as much as to count: those used last. Of
kinds and statuses there are fewer; of mirrors there may be more."""

Tally = dict[int, int]
"""Status -> answers, of one hot reader. A plain dictionary: a counter with labels costs ten times as much."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """How long a role's metadata is still good: `index` is empty for the shared roles."""

    index: str
    role: str
    seconds: float


class Request(NamedTuple):
    """A request that is over: `status` 0 when nothing was answered; bytes of its body, and of the answer's."""

    path: str
    status: int
    seconds: float
    received: int
    sent: int


class _HotAnswers(Collector):
    """Turns tallies into a metric when somebody looks."""

    def __init__(self, tallies: Mapping[str, Tally]) -> None:
        self._tallies = tallies

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(
            "countermark_hot_answers", "Answers from memory, before any framework.", labels=["reader", "status"]
        )
        for reader, tally in list(self._tallies.items()):
            for status, count in list(tally.items()):
                family.add_metric([reader, str(status)], count)
        yield family


class Metrics:
    """The metrics of one process.

    Attributes:
        under_way: requests of the application that have begun and are not over.
    """

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._tallies: dict[str, Tally] = {}
        registry.register(_HotAnswers(self._tallies))
        ProcessCollector(registry=registry)
        self._answers(registry)
        self.jobs = Counter(
            "countermark_jobs", "Jobs delivered to this process.", ["kind", "outcome"], registry=registry
        )
        self.job_seconds = Histogram(
            "countermark_job_seconds", "Time of a job.", ["kind"], buckets=_SECONDS, registry=registry
        )
        self.publication_seconds = Histogram(
            "countermark_publication_seconds", "From gathering a batch to its timestamp in the store.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.publication_changes = Histogram(
            "countermark_publication_changes", "Changes in one publication.", buckets=_COUNTS, registry=registry
        )
        self.lease_conflicts = Counter(
            "countermark_lease_conflicts", "Times another signer held an index's lease.", registry=registry
        )
        self.store_seconds = Histogram(
            "countermark_store_seconds", "Calls of the object store, reads to their first byte.", ["operation"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.store_errors = Counter(
            "countermark_store_errors", "Calls of the object store that failed.", ["operation"], registry=registry
        )
        self.view_age = Gauge(
            "countermark_view_age_seconds", "Since this process last compared its view with the catalogue.",
            registry=registry,
        )  # fmt: skip
        self.clock_skew = Gauge(
            "countermark_clock_skew_seconds", "By which this machine's clock is ahead of the database's.",
            registry=registry,
        )  # fmt: skip
        self.reads_refused = Counter(
            "countermark_reads_refused", "Files not served, as their chain broke when they were read.",
            ["step", "fault"],
            registry=registry,
        )  # fmt: skip
        self._refused_trust = Counter(
            "countermark_trust_refused", "Times that what the trust role signs could not be used.", ["why"],
            registry=registry,
        )  # fmt: skip
        self._catalogue(registry)
        self._upstreams(registry)
        self.signing = SigningMetrics(registry, _SECONDS)

    def _answers(self, registry: CollectorRegistry) -> None:
        """Make what each request of the application changes."""
        requests = Counter(
            "countermark_requests", "Requests answered by the application.", ["kind", "status"], registry=registry
        )
        seconds = Histogram(
            "countermark_request_seconds", "From a request's head to its last byte.", ["kind"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        received = Counter(
            "countermark_received_bytes", "Bytes of requests' bodies: uploads.", ["kind"], registry=registry
        )
        sent = Counter("countermark_sent_bytes", "Bytes of answers of the application.", ["kind"], registry=registry)
        self._requests = lru_cache(_REMEMBERED)(requests.labels)
        self._seconds = lru_cache(_REMEMBERED)(seconds.labels)
        self._received = lru_cache(_REMEMBERED)(received.labels)
        self._sent = lru_cache(_REMEMBERED)(sent.labels)
        self.under_way = 0
        under_way = Gauge("countermark_requests_under_way", "Requests not yet answered.", registry=registry)
        under_way.set_function(lambda: self.under_way)

    def _upstreams(self, registry: CollectorRegistry) -> None:
        """Make what tells of the upstreams of mirrors."""
        failures = Gauge(
            "countermark_upstream_failures",
            "Questions in a row that a mirror's upstream did not answer well; pages may be stale above 0.",
            ["index"],
            registry=registry,
        )
        stale = Gauge(
            "countermark_upstream_stale",
            "Pages of a mirror that were shown unconfirmed since its upstream last answered well.",
            ["index"],
            registry=registry,
        )
        shut = Gauge(
            "countermark_upstream_shut",
            "1 when a mirror's upstream was left alone, as it fails, where it was last to be asked.",
            ["index"],
            registry=registry,
        )
        self._upstream_failures = lru_cache(_REMEMBERED)(failures.labels)
        self._upstream_stale = lru_cache(_REMEMBERED)(stale.labels)
        self._upstream_shut = lru_cache(_REMEMBERED)(shut.labels)
        self._upstream_alarms = Counter(
            "countermark_upstream_alarms",
            "Times that an upstream gave other bytes than it said, or than before.",
            ["kind"],
            registry=registry,
        )

    def upstream_answered(self, index: str, *, good: bool) -> None:
        """Note whether the upstream of a mirror gave a usable answer."""
        failures = self._upstream_failures(index)
        if good:
            failures.set(0)
            self._upstream_stale(index).set(0)
        else:
            failures.inc()

    def upstream_wanted(self, index: str, *, shut: bool) -> None:
        """Note that the upstream of a mirror is to be asked, and whether it is left alone instead."""
        self._upstream_shut(index).set(shut)

    def upstream_stale(self, index: str) -> None:
        """Note that something of a mirror is shown though it could not be confirmed in time."""
        self._upstream_stale(index).inc()

    def upstream_alarm(self, kind: str) -> None:
        """Count an alarm: `digest-changed` or `wrong-bytes`."""
        self._upstream_alarms.labels(kind).inc()

    def expect_refused_reads(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Show steps and faults at 0, before the first alarm."""
        for step, fault in pairs:
            self.reads_refused.labels(step, fault)

    def refused_read(self, step: str, fault: str) -> None:
        """Count an alarm of a file that was not served, by the step at which its chain broke when it was read, and by
        whose fault it is: `file`, `policy` or `index`."""
        self.reads_refused.labels(step, fault).inc()

    def refused_trust(self, why: str) -> None:
        """Count that nothing was judged, as what trust signs cannot be used: `signature`, `anchor`, `older`, `bytes` or
        `expired`."""
        self._refused_trust.labels(why).inc()

    def _catalogue(self, registry: CollectorRegistry) -> None:
        """Make what one look at the catalogue finds; the same in every process that looks (workers)."""
        self.outbox_open = Gauge("countermark_outbox_open", "Jobs not yet done.", registry=registry)
        self.outbox_dead = Gauge("countermark_outbox_dead", "Jobs that were given up.", registry=registry)
        self.outbox_oldest = Gauge(
            "countermark_outbox_oldest_seconds", "Age of the oldest open job.", registry=registry
        )
        self.audit_broken = Gauge(
            "countermark_audit_chain_broken", "Position at which the audit's chain does not hold; 0 while it does.",
            registry=registry,
        )  # fmt: skip
        self.audit_late = Counter(
            "countermark_audit_late_rows", "Audit rows that were found unchained after five minutes.", registry=registry
        )
        self.audit_unchained = Gauge(
            "countermark_audit_unchained_seconds", "Age of the oldest audit row that is not chained.", registry=registry
        )
        self.expiry = Gauge(
            "countermark_expiry_seconds", "Until a role's metadata expires; shared roles have no index.",
            ["index", "role"], registry=registry,
        )  # fmt: skip

    def tally(self, reader: str) -> Tally:
        """Return where the answers of a hot reader are counted."""
        return self._tallies.setdefault(reader, {})

    def request(self, done: Request) -> None:
        """Count one request of the application."""
        kind = kind_of(done.path)
        self._requests(kind, done.status).inc()
        self._seconds(kind).observe(done.seconds)
        if done.received:
            self._received(kind).inc(done.received)
        if done.sent:
            self._sent(kind).inc(done.sent)

    def show_expiries(self, found: Iterable[Expiry]) -> None:
        """Replace what is told about expiry; indexes that are gone leave no metric behind."""
        self.expiry.clear()
        for one in found:
            self.expiry.labels(one.index, one.role).set(one.seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self._registry)


def metrics_app(metrics: Metrics) -> ASGIApp:
    """Return what listens on the metrics' port: `GET /metrics`, and 404 for all else."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        found = scope["path"] == "/metrics" and scope["method"] in ("GET", "HEAD")
        body = metrics.text() if found else b"The metrics are at /metrics.\n"
        kind = CONTENT_TYPE_LATEST if found else "text/plain; charset=utf-8"
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app


_KINDS = {
    FaceKind.INDEX: "upload", FaceKind.SIMPLE: "page", FaceKind.FILE: "file", FaceKind.TUF: "metadata",
    FaceKind.JSON: "json", FaceKind.AT: "page", FaceKind.INTEGRITY: "file",
}  # fmt: skip
"""What faces are counted as; all others are documents of devpi's API."""


def kind_of(path: str) -> str:
    """Return what a path is counted as: one of upload, page, file, metadata, json, devpi, api, health, other."""
    if path.startswith("/api/"):
        return "api"
    if path in ("/healthz", "/readyz"):
        return "health"
    face = parse_face(path)
    return "other" if face is None else _KINDS.get(face.kind, "devpi")
