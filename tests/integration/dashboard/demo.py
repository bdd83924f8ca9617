"""The index and the project that the dashboard shows in these tests."""

from __future__ import annotations

from countermark.core.names import IndexName

STABLE = IndexName("root", "stable")
PROJECT = "/indexes/root/stable/projects/demo"
WHEEL = "demo-1.0-py3-none-any.whl"
