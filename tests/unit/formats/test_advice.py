"""What is admitted with a warning, and the platforms that wheels are for."""

import time

import pytest

from shared.formats.interface import InvalidFile
from shared.formats.python.advice import advice
from shared.formats.python.description import MAX_MARKDOWN, MAX_RST
from shared.formats.python.names import parse_name
from shared.formats.python.platforms import unknown_platforms


def test_classifiers_are_warned_of_by_kind() -> None:
    """Unknown ones and deprecated ones have a sentence each; known and private ones none."""
    known = ["Programming Language :: Python :: 3", "Private :: Do Not Upload"]
    assert advice({"classifiers": known}, "METADATA") == ()
    assert advice({}, "METADATA") == ()
    unknown, deprecated = advice(
        {"classifiers": [*known, "Made :: \u00dcp", "Topic :: Communications :: Chat :: AOL Instant Messenger"]},
        "PKG-INFO",
    )
    assert unknown == "PKG-INFO: the classifier 'Made :: \\xdcp' is not a known one."
    assert "is deprecated; leave it out." in deprecated


def test_many_warnings_are_counted() -> None:
    """An answer stays readable, whatever the file says."""
    sentences = advice({"classifiers": [f"Made :: Up {number}" for number in range(10_000)]}, "METADATA")
    assert len(sentences) == 21
    assert "9980 more" in sentences[-1]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("Title\n==\n\nsee `here\n", "text/x-rst", "line 4: Inline interpreted text"),
        (":func:`here`", "text/x-rst; charset=UTF-8", 'line 1: Unknown interpreted text role "func"'),
        (".. include:: /etc/passwd\n", None, 'line 1: "include" directive disabled'),
        (".. raw:: html\n\n   <b>\n", None, "disabled"),
        ("|caf\u00e9|", None, "caf\\xe9"),
        (".. only a comment\n", None, "renders to nothing"),
        ("a" * 10_001, None, "line-length-limit"),
        ("".join(" " * depth + "x\n\n" for depth in range(300)), None, "cannot read"),
        ("a\n" * 25_000, None, "longer than 49152"),
        ("#" * (MAX_MARKDOWN + 1), "text/markdown", "as Markdown: it is longer than 131072"),
    ],
)
def test_a_description_that_does_not_render_is_told(text: str, kind: str | None, words: str) -> None:
    """The sentence has what is wrong first, in ASCII; nothing is read from this machine, whatever the text asks for."""
    fields = {"description": text} | ({} if kind is None else {"description_content_type": kind})
    [sentence] = advice(fields, "METADATA")
    assert sentence.startswith("METADATA: the description does not render as ")
    assert words in sentence
    assert sentence.isascii()
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Title\n=====\n\n**bold** `web <https://x.test>`_\n", None),
        ("# `unclosed <b>", "text/markdown; variant=GFM"),
        ("`unclosed", "text/plain"),
        (" \n", None),
    ],
)
def test_a_description_that_renders_is_passed_over(text: str, kind: str | None) -> None:
    """Any text is Markdown and plain text; no description is no fault."""
    assert advice({"description": text, "description_content_type": kind}, "METADATA") == ()


@pytest.mark.parametrize(
    "seed", ["+--" * 200 + "+\n" + "|x " * 200 + "|\n", "-a  b\n", "a\n b\n\n", "== ==\na  b\n== ==\n\n"]
)
def test_a_description_made_to_be_slow_is_done_in_time(seed: str) -> None:
    """The longest that is rendered takes a second; the bound leaves a busy machine much room."""
    started = time.process_time()
    advice({"description": (seed * MAX_RST)[:MAX_RST]}, "METADATA")
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "platform",
    [
        "any",
        "win32",
        "win_amd64",
        "win_arm64",
        "linux_x86_64",
        "linux_armv7l",
        "manylinux1_i686",
        "manylinux2014_aarch64",
        "manylinux_2_39_riscv64",
        "musllinux_1_2_armv7l",
        "macosx_10_9_universal2",
        "macosx_26_0_arm64",
        "ios_13_0_arm64_iphonesimulator",
        "android_21_arm64_v8a",
        "pyemscripten_2025_0_wasm32",
    ],
)
def test_platforms_of_installers_are_known(platform: str) -> None:
    """What pip and uv run on, and plain Linux for private indexes."""
    assert unknown_platforms([platform]) == []
    assert parse_name(f"widget-1.0-cp311-abi3-{platform}.whl").version == "1.0"


@pytest.mark.parametrize(
    "platform", ["", "linux", "win64", "manylinux_x86_64", "macosx_9_0_ppc", "plan9", "manylinux2014_vax"]
)
def test_other_platforms_are_refused(platform: str) -> None:
    """One unknown tag among known ones is enough, and it is named."""
    assert unknown_platforms(["any", platform]) == [platform]
    if platform:
        with pytest.raises(InvalidFile, match=f"platform {platform}"):
            parse_name(f"widget-1.0-cp311-abi3-win32.{platform}.whl")
