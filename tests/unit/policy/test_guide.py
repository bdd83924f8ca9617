"""The examples in docs/policy.md are policies."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from countermark.core.policy import parse_policy
from tests.unit.policy.test_evaluating import KEYED

GUIDE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
USUAL: dict[str, Any] = {
    "schema": "policy/v1",
    "roots": {"public": "trusted_root.json"},
    "packages": [{"match": "*", "deny": True}],
}


def test_there_are_examples() -> None:
    """The guide has the whole file, and one for each kind of identity."""
    assert len(EXAMPLES) == 7


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_policies(example: str) -> None:
    """An example is read, put beside what the guide says that it leaves out."""
    parts = yaml.safe_load(example)
    if "keys" in parts:
        [key] = yaml.safe_load(KEYED)["keys"].values()
        parts["keys"] = dict.fromkeys(parts["keys"], key)
    # JSON is YAML: what was numbers and booleans becomes the same text again.
    policy = parse_policy(json.dumps(USUAL | parts).encode())
    assert policy.builders or policy.verifiers
