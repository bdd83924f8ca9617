"""`countermark key show --pem`: a public key as policies name it."""

from __future__ import annotations

from pathlib import Path

from countermark.core.policy import parse_policy
from tests.unit.client.conftest import Run

_POLICY = """schema: "policy/v1"
keys:
  release: |
    {pem}
builders:
  by-key: {{key: "release", builder_ids: ["urn:x"], build_types: ["urn:y"], level: 1}}
packages:
  - {{match: "*", builders: ["by-key"], log: {{rekor: ["none"]}}}}
"""


def test_a_public_key_is_shown_as_a_policy_names_it(run: Run, tmp_path: Path) -> None:
    """Of a private key's URI and of a public key's file alike, and a policy takes it as it stands."""
    uri, public = f"file2:{tmp_path / 'key.pem'}", tmp_path / "key.json"
    assert run("key", "new", uri, "-o", public).exit_code == 0
    shown = run("key", "show", uri, "--pem")
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout == run("key", "show", public, "--pem").stdout
    assert shown.stdout.splitlines()[0] == "-----BEGIN PUBLIC KEY-----"
    pem = "\n    ".join(shown.stdout.splitlines())
    assert list(parse_policy(_POLICY.format(pem=pem).encode()).keys) == ["release"]
