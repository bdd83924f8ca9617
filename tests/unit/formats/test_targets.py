"""Which files are wanted for which machines."""

from __future__ import annotations

import pytest

from countermark.core.names import FileName
from shared.formats.python.targets import InvalidTarget, parse_targets

_LINUX = parse_targets(["3.12"], ["manylinux_2_28_x86_64"])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("x-1.0.tar.gz", True),
        ("x-1.0-py3-none-any.whl", True),
        ("x-1.0-cp312-cp312-manylinux_2_28_x86_64.whl", True),
        ("x-1.0-cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64.whl", True),
        ("x-1.0-cp39-abi3-manylinux_2_17_x86_64.whl", True),
        ("x-1.0-cp312-cp312-manylinux_2_31_x86_64.whl", False),
        ("x-1.0-cp312-cp312-manylinux_2_17_aarch64.whl", False),
        ("x-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", False),
        ("x-1.0-cp312-cp312-win_amd64.whl", False),
        ("x-1.0-py2-none-any.whl", False),
        ("no-wheel.whl", False),
    ],
)
def test_wheels_by_their_tags(name: str, wanted: bool) -> None:
    """Older platforms of the same kind, the stable ABI and pure wheels included."""
    assert _LINUX.take(FileName(name)) is wanted


@pytest.mark.parametrize(
    ("platform", "name"),
    [
        ("musllinux_1_2_x86_64", "x-1.0-cp312-cp312-musllinux_1_1_x86_64.whl"),
        ("macosx_14_0_arm64", "x-1.0-cp312-cp312-macosx_11_0_arm64.whl"),
        ("macosx_14_0_arm64", "x-1.0-cp312-cp312-macosx_10_13_universal2.whl"),
        ("win_amd64", "x-1.0-cp312-cp312-win_amd64.whl"),
    ],
)
def test_other_platforms(platform: str, name: str) -> None:
    """As installers on them choose."""
    assert parse_targets(["3.12"], [platform]).take(FileName(name))
    assert not _LINUX.take(FileName(name))


def test_without_a_platform() -> None:
    """A Python alone takes what runs everywhere; nothing named takes everything."""
    pure, native = FileName("x-1.0-py3-none-any.whl"), FileName("x-1.0-cp312-cp312-win_amd64.whl")
    assert parse_targets(["3.12"], []).take(pure)
    assert not parse_targets(["3.12"], []).take(native)
    assert parse_targets([], []).take(native)


@pytest.mark.parametrize(
    ("pythons", "platforms"), [(["312"], []), (["2.7"], []), (["3.12"], ["linux x86"]), ([], ["win_amd64"])]
)
def test_what_is_no_target_is_said(pythons: list[str], platforms: list[str]) -> None:
    """With the way it is written."""
    with pytest.raises(InvalidTarget):
        parse_targets(pythons, platforms)
