"""What is counted, under few names."""

from __future__ import annotations

import pytest
from starlette.types import Message, Receive, Scope, Send

from shared.http import machine_stack
from shared.metrics import Expiry, Metrics, Request, kind_of, metrics_app
from shared.service import HotPath, Prepared
from tests.support.asgi import call


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/root/stable/", "upload"),
        ("/legacy/", "upload"),
        ("/root/stable/+simple/widget/", "page"),
        ("/simple/widget/", "page"),
        ("/root/stable/+f/abc/0123456789abc/widget-1.0.tar.gz", "file"),
        ("/root/stable/+tuf/metadata/timestamp.json", "metadata"),
        ("/pypi/widget/json", "json"),
        ("/api/v1/account", "api"),
        ("/readyz", "health"),
        ("/a/b/c/d/e/f", "other"),
        ("/", "other"),
    ],
)
def test_paths_become_few_kinds(path: str, kind: str) -> None:
    """Whatever strangers ask for, the number of series stays small."""
    assert kind_of(path) == kind


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": body * 2})


async def test_requests_are_counted_with_their_bytes() -> None:
    """Kind, status, bytes both ways, and how many are under way."""
    metrics = Metrics()
    app = machine_stack(_echo, listener="upload", metrics=metrics)
    await call(app, "POST", "/root/stable/", body=b"12345")
    text = metrics.text().decode()
    for line in (
        'countermark_requests_total{kind="upload",status="201"} 1.0',
        'countermark_request_seconds_count{kind="upload"} 1.0',
        'countermark_received_bytes_total{kind="upload"} 5.0',
        'countermark_sent_bytes_total{kind="upload"} 10.0',
        "countermark_requests_under_way 0.0",
    ):
        assert line in text


async def test_a_request_under_way_is_seen() -> None:
    """Who looks while a request runs sees it; when it broke off, it is over and was answered by nothing."""
    metrics = Metrics()
    seen: list[str] = []

    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(metrics.text().decode())
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await call(machine_stack(broken, listener="api", metrics=metrics), "GET", "/")
    after = metrics.text().decode()
    assert "countermark_requests_under_way 1.0" in seen[0]
    assert "countermark_requests_under_way 0.0" in after
    assert 'countermark_requests_total{kind="other",status="0"} 1.0' in after


def test_answers_are_counted_apart() -> None:
    """By kind and status, however often they come; what has no body is no series of bytes."""
    metrics = Metrics()
    for path, status in (("/simple/a/", 200), ("/simple/b/", 200), ("/simple/a/", 404), ("/readyz", 200)):
        metrics.request(Request(path, status, 0.003, received=0, sent=0 if status == 404 else 7))
    text = metrics.text().decode()
    for line in (
        'countermark_requests_total{kind="page",status="200"} 2.0',
        'countermark_requests_total{kind="page",status="404"} 1.0',
        'countermark_requests_total{kind="health",status="200"} 1.0',
        'countermark_request_seconds_bucket{kind="page",le="0.005"} 3.0',
        'countermark_sent_bytes_total{kind="page"} 14.0',
    ):
        assert line in text
    assert "countermark_received_bytes_total{" not in text


def test_mirrors_are_told_apart() -> None:
    """Each upstream's failures, stale pages and rest; a good answer ends the first two."""
    metrics = Metrics()
    for _ in range(2):
        metrics.upstream_answered("root/a", good=False)
        metrics.upstream_stale("root/a")
    metrics.upstream_wanted("root/a", shut=True)
    metrics.upstream_wanted("root/b", shut=False)
    metrics.upstream_answered("root/b", good=True)
    text = metrics.text().decode()
    for name, bad, shut in (("root/a", 2, 1), ("root/b", 0, 0)):
        assert f'countermark_upstream_failures{{index="{name}"}} {bad}.0' in text
        assert f'countermark_upstream_stale{{index="{name}"}} {bad}.0' in text
        assert f'countermark_upstream_shut{{index="{name}"}} {shut}.0' in text
    metrics.upstream_answered("root/a", good=True)
    assert 'countermark_upstream_failures{index="root/a"} 0.0' in metrics.text().decode()


async def test_hot_answers_are_counted_by_status() -> None:
    """What memory answers never reaches the counters of the application."""
    metrics = Metrics()

    def hot(scope: Scope) -> Prepared | None:
        return Prepared(304, [], b"") if scope["path"] == "/warm" else None

    app = HotPath([hot], machine_stack(_echo, listener="index", metrics=metrics), metrics.tally("index"))
    for path in ("/warm", "/warm", "/+cold"):
        await call(app, "GET", path)
    text = metrics.text().decode()
    assert 'countermark_hot_answers_total{reader="index",status="304"} 2.0' in text
    assert 'countermark_requests_total{kind="other",status="201"} 1.0' in text


def test_indexes_that_are_gone_leave_no_series() -> None:
    """What is told about expiry is what the last look found."""
    metrics = Metrics()
    metrics.show_expiries([Expiry("root/old", "timestamp", 5.0)])
    metrics.show_expiries([Expiry("root/new", "timestamp", 7.0)])
    text = metrics.text().decode()
    assert 'countermark_expiry_seconds{index="root/new",role="timestamp"} 7.0' in text
    assert "root/old" not in text


@pytest.mark.parametrize(("path", "status"), [("/metrics", 200), ("/", 404), ("/metrics/", 404)])
async def test_the_listener_answers_one_path(path: str, status: int) -> None:
    """All else is not there."""
    messages: list[Message] = await call(metrics_app(Metrics()), "GET", path)
    assert messages[0]["status"] == status
