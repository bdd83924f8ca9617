"""Which platform tags of wheels are taken: those that some installer looks for. Pure.

Source: platform compatibility tags; PEPs 600, 656, 730, 738 and 783; python-index contract sections 2.3 (row 12) and
2.5 (point 6: plain `linux_*` is for private indexes).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_LINUX = "x86_64|i686|aarch64|armv[678]l|ppc64|ppc64le|s390x|riscv64|loongarch64"
_KNOWN = re.compile(
    rf"""
    any
    | win32 | win_amd64 | win_arm64
    | linux_[a-z0-9_]+
    | (manylinux(1|2010|2014|_[0-9]+_[0-9]+) | musllinux_[0-9]+_[0-9]+)_({_LINUX})
    | macosx_[1-9][0-9]_[0-9]+_(x86_64|arm64|universal2|intel|i386|ppc|ppc64|fat|fat3|fat32|fat64|universal)
    | ios_[0-9]+_[0-9]+_(arm64_iphoneos|arm64_iphonesimulator|x86_64_iphonesimulator)
    | android_[0-9]+_(arm64_v8a|armeabi_v7a|x86|x86_64)
    | (pyemscripten|pyodide)_[0-9]+_[0-9]+_wasm32
    """,
    re.VERBOSE,
)


def unknown_platforms(platforms: Iterable[str]) -> list[str]:
    """Return the platform tags that no installer looks for, sorted."""
    return sorted({platform for platform in platforms if _KNOWN.fullmatch(platform) is None})
