"""The alerting rules speak of metrics that there are, and of the limits that the code counts by."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from shared.metrics import Metrics
from shared.trust.alerts import ALERT_BELOW
from shared.trust.roles import PROFILES, Role

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "monitoring" / "alerts.yml"
_FACTORS = {"3600": 3600.0, "86400": 86400.0}


def rules() -> list[dict[str, Any]]:
    """Return all rules."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def families() -> set[str]:
    """Return the names under which Prometheus sees our metrics."""
    found = set()
    for line in Metrics().text().decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            found |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
    return found


def test_every_metric_of_a_rule_exists() -> None:
    """A rule on a name that nobody tells would never fire."""
    for rule in rules():
        named = set(re.findall(r"\b(?:countermark|process)_[a-z_]+", rule["expr"]))
        assert named, rule["alert"]
        assert named <= families(), rule["alert"]


def test_the_limits_are_those_of_the_code() -> None:
    """Each role has one rule, with the limit by which indexes count as short; and none cries while all is well."""
    limits: dict[Role, timedelta] = {}
    for rule in rules():
        found = re.match(r'countermark_expiry_smallest_seconds\{role=~?"([a-z|]+)"\} < (\d+) \* (\d+)$', rule["expr"])
        if found is not None:
            span = timedelta(seconds=int(found[2]) * _FACTORS[found[3]])
            limits |= {Role(role): span for role in found[1].split("|")}
    assert limits == ALERT_BELOW
    for profile in PROFILES.values():
        assert all(profile.roles[role].resign_before > limit for role, limit in limits.items())


def test_every_rule_says_what_to_do() -> None:
    """Summary and description are there, names are used once, and the book names each rule."""
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    book = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert f"`{rule['alert']}`" in book
