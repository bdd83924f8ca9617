"""What is said of a release's provenance. Contract python-index section 4.1."""

from __future__ import annotations

from typing import Any

import pytest

from shared.reading.provenance import GITHUB_ISSUER
from shared.reading.provenance_labels import Label, identity_of, provenance_label

ACME, EVIL = frozenset({"https://forge.test/acme/ci"}), frozenset({"https://forge.test/evil/ci"})
NOBODY = frozenset[str]()


@pytest.mark.parametrize(
    ("files", "before", "label", "says"),
    [
        ([NOBODY, NOBODY], None, Label.NONE, "no file is attested"),
        ([], None, Label.NONE, "no file is attested"),
        ([NOBODY], [NOBODY], Label.NONE, "no file is attested"),
        ([ACME, ACME], None, Label.FULL, "every file is attested, by https://forge.test/acme/ci"),
        ([ACME], [NOBODY], Label.FULL, "every file"),
        ([ACME], [ACME, NOBODY], Label.FULL, "every file"),
        ([ACME, NOBODY], [ACME], Label.PARTIAL, "1 of 2 files"),
        ([NOBODY], [ACME, NOBODY], Label.LOST, "by https://forge.test/acme/ci, this one is by nobody"),
        ([EVIL], [ACME], Label.CHANGED, "signed by https://forge.test/evil/ci; the release before was by"),
        ([ACME | EVIL], [ACME], Label.CHANGED, "signed by https://forge.test/evil/ci;"),
        ([EVIL, NOBODY], [ACME], Label.CHANGED, "evil"),
        ([ACME], [ACME | EVIL], Label.FULL, "every file"),
    ],
)
def test_labels(files: Any, before: Any, label: Label, says: str) -> None:
    """Lost and changed count before partial and full; a second signer that went is no other one that came."""
    found = provenance_label(files, before)
    assert found.label is label
    assert says in found.words
    assert (found.files, found.attested) == (len(files), sum(bool(one) for one in files))


def test_words_are_bounded() -> None:
    """Of many signers three are named."""
    many = frozenset(f"https://forge.test/{number}" for number in range(9))
    assert provenance_label([many], None).words.endswith("https://forge.test/2 and 6 more")


def workflow(address: str, issuer: str) -> dict[str, Any]:
    """Return what is known of a bundle that a workflow signed."""
    return {"san": f"{address}@refs/tags/v1", "san_type": "uri", "issuer": issuer}


@pytest.mark.parametrize(
    ("facts", "identity"),
    [
        (workflow("https://f.test/a/ci.yml", "https://f.test"), "https://f.test/a/ci.yml"),
        (workflow("https://github.com/a/ci.yml", GITHUB_ISSUER), "https://github.com/a/ci.yml"),
        (workflow("https://github.com/a/ci.yml", "https://i.test"), "https://github.com/a/ci.yml (https://i.test)"),
        (workflow("https://f.test.evil/ci.yml", "https://f.test"), "https://f.test.evil/ci.yml (https://f.test)"),
        ({"san": "a@acme.test", "san_type": "email", "issuer": "https://i.test"}, "a@acme.test (https://i.test)"),
        ({"san": "builder 7", "san_type": "other", "issuer": None}, "builder 7"),
        ({"key": "ab" * 32, "san": None}, f"key {'ab' * 32}"),
    ],
)
def test_identity(facts: dict[str, Any], identity: str) -> None:
    """A workflow counts without the ref that it ran on, so that each tag is not another builder; one that somebody else
    vouches for than its own forge is another one."""
    assert identity_of(facts) == identity
