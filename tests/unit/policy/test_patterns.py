"""Patterns of refs mean what they look like. Trust contract section 4."""

from __future__ import annotations

import pytest

from countermark.core.policy.patterns import check_ref_pattern, ref_fits


@pytest.mark.parametrize(
    ("ref", "pattern", "fits"),
    [
        ("refs/tags/v1.0", "refs/tags/v*", True),
        ("refs/tags/v", "refs/tags/v*", True),
        ("refs/tags/v1/x", "refs/tags/v*", False),
        ("refs/heads/v1", "refs/tags/v*", False),
        ("refs/tags/v1.0", "refs/tags/v{version}", True),
        ("refs/tags/v1.0.0", "refs/tags/v{version}", False),
        ("refs/tags/v1.0-linux", "refs/tags/v{version}-*", True),
        ("refs/tags/v1.0", "refs/tags/v{version}-*", False),
        ("refs/tags/a.b.c", "refs/tags/*.*.*", True),
        ("refs/tags/a.b", "refs/tags/*.*.*", False),
        ("refs/tags/aXbXc", "refs/tags/a*b*c", True),
        ("refs/tags/ab", "refs/tags/ab*b", False),
        ("refs/tags/abb", "refs/tags/ab*b", True),
        ("refs/tags/x/v1", "refs/tags/*", False),
        ("refs/heads/release/1", "refs/heads/release/*", True),
        ("a" * 40, "a" * 40, True),
        ("A" * 40, "a" * 40, False),
    ],
)
def test_ref_fits(ref: str, pattern: str, fits: bool) -> None:
    """`*` takes any text of one segment, `{version}` exactly the version."""
    check_ref_pattern(pattern)
    assert ref_fits(ref, pattern, "1.0") is fits


def test_a_version_is_text() -> None:
    """A version that holds a star or braces stands for itself."""
    assert not ref_fits("refs/tags/vevil", "refs/tags/v{version}", "*")
    assert ref_fits("refs/tags/v*", "refs/tags/v{version}", "*")
    assert ref_fits("refs/tags/v{version}", "refs/tags/v{version}", "{version}")
