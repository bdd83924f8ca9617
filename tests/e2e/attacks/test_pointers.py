"""Rows 27 and 28: pointers that are signed and malformed, and file names that would make a hostile target path."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx2
import pytest

from tests.e2e.attacks.conftest import Scene
from tests.e2e.attacks.names import INDEX, PAGE, WHEEL, WIDGET
from tests.support.archives import make_wheel
from tests.support.tampering.table import Case, attacks
from tests.support.tampering.victim import Victim
from tests.support.uploading import basic, form_body, form_fields, post_file

pytestmark = pytest.mark.embedded


def _sub(pattern: bytes, replacement: bytes) -> Callable[[bytes], bytes]:
    """Return what rewrites the first match in a pointer, which must have one."""

    def rewrite(pointer: bytes) -> bytes:
        changed, count = re.subn(pattern, replacement, pointer, count=1)
        assert count == 1, pattern
        return changed

    return rewrite


def _bomb(_pointer: bytes) -> bytes:
    levels = [b"  l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 20):
        aliases = b", ".join([b"*l%d" % (level - 1)] * 9)
        levels.append(b"  l%d: &l%d [%s]" % (level, level, aliases))
    return b"pointer:\n" + b"\n".join(levels) + b"\n"


_SAYS = "pointer: pointers/widget/"


@attacks(
    27,
    Case("a key twice", 30, _SAYS, _sub(rb"(  length: \d+\n)", rb"\1  length: 1\n")),
    Case("an alias bomb of 9^20 entries", 30, _SAYS, _bomb),
    Case(
        "an anchor and an alias", 30, _SAYS, _sub(rb'name: "widget"\n  version: .*', rb"name: &a widget\n  version: *a")
    ),
    Case("a tag", 30, _SAYS, _sub(rb"length: (\d+)", rb"length: !!int \1")),
    Case("a tag that would make an object", 30, _SAYS, _sub(rb"length: \d+", rb"length: !!python/object:os.system x")),
    Case("two documents", 30, _SAYS, lambda pointer: pointer + b"---\n" + pointer),
    Case("5 kB", 30, "bytes", lambda pointer: pointer + b"#" * 5000),
    Case("`..` in the uri", 30, _SAYS, _sub(rb'uri: "/files/', rb'uri: "/files/../')),
    Case("`%2e%2e` in the uri", 30, _SAYS, _sub(rb'uri: "/files/', rb'uri: "/files/%2e%2e/')),
    Case("`//host` in the uri", 30, _SAYS, _sub(rb'uri: "/', rb'uri: "//evil.example/')),
    Case("an absolute uri", 30, _SAYS, _sub(rb'uri: "/', rb'uri: "https://evil.example/')),
    Case("a query in the uri", 30, _SAYS, _sub(rb'\.whl"', rb'.whl?x=1"')),
    Case("a line end in the uri", 30, _SAYS, _sub(rb'uri: "/files/', rb'uri: "/files/\\r\\nx: y/')),
    Case("a negative length", 30, _SAYS, _sub(rb"length: ", rb"length: -")),
    Case("a length that is a boolean", 30, _SAYS, _sub(rb"length: \d+", rb"length: true")),
    Case("a length with a point", 30, _SAYS, _sub(rb"length: (\d+)", rb"length: \1.0")),
    Case("a length in other digits than ASCII's", 30, _SAYS, _sub(rb"length: \d+", "length: \u0661".encode())),
    Case("a length of 3000 digits", 30, _SAYS, _sub(rb"length: \d+", b"length: " + b"9" * 3000)),
    Case("an upper-case digest", 30, _SAYS, _sub(rb'digest: "[0-9a-f]{4}', rb'digest: "ABCD')),
    Case("a short digest", 30, _SAYS, _sub(rb'digest: "[0-9a-f]', rb'digest: "')),
    Case("no digest", 30, _SAYS, _sub(rb"  digest: .*\n", rb"")),
    Case("a list in the place of the mapping", 30, _SAYS, lambda _: b"pointer: [name, version]\n"),
    Case("bytes that are not UTF-8", 30, _SAYS, _sub(rb'name: "widget"', b'name: "\xff"')),
    Case("nothing", 30, _SAYS, lambda _: b"\n"),
    Case("the version `1.10` without quotes", 30, "without quotes", _sub(rb'"1.10"', rb"1.10")),
    Case(
        "a digest of digits alone without quotes",
        30,
        "without quotes",
        _sub(rb'digest: "[0-9a-f]{64}"', b"digest: " + b"1" * 64),
    ),
)
def test_row_27_malformed_pointer(case: Case, scene: Scene) -> None:
    """A pointer that is signed and breaks a rule of its form is refused."""
    scene.forger.publish({WIDGET: case.given(scene.forger.target(WIDGET))})
    scene.ends(case, scene.client.get("widget", "--file", WHEEL))


@attacks(
    27,
    Case("a page document that is not JSON", 30, "pointer: ", b"{"),
    Case("a page document nested 10,000 deep", 30, "pointer: ", b"[" * 10_000),
    Case(
        "a page document that names no files",
        30,
        "pointer: ",
        b'{"meta": {"_index": "root/attacked"}, "name": "widget"}',
    ),
)
def test_row_27_malformed_page(case: Case, scene: Scene) -> None:
    """So is a page document."""
    scene.forger.publish({PAGE: case.given})
    scene.ends(case, scene.client.get("widget==1.10"))


@attacks(
    28,
    *(
        Case(f"a file name with {what}, at upload", 400, "cannot be used", name, status=True)
        for what, name in {
            "a question mark": "wid?get-1.10-py3-none-any.whl",
            "a hash sign": "wid#get-1.10-py3-none-any.whl",
            "`%2e`": "widget%2e-1.10-py3-none-any.whl",
            "`../`": "../widget-1.10-py3-none-any.whl",
            "`..` and a backslash": "..\\widget-1.10-py3-none-any.whl",
            "a leading `/`": "/widget-1.10-py3-none-any.whl",
            "300 characters": f"{'w' * 279}-1.10-py3-none-any.whl",
            "a space": "widget -1.10-py3-none-any.whl",
        }.items()
    ),
    Case("a file name with a NUL, at upload", 400, "control character", "widget\0-1.10-py3-none-any.whl", status=True),
    Case(
        "a file name with `+` that its version does not have, at upload",
        400,
        "",
        "widget-1.10+x-py3-none-any.whl",
        status=True,
    ),
)
def test_row_28_hostile_file_names(case: Case, scene: Scene) -> None:
    """What could not be a target path on every server and in every URL never becomes a file."""
    wheel = make_wheel("widget", "1.10")
    body, form = form_body(case.given, wheel, form_fields(WHEEL, wheel))
    answer = httpx2.post(
        f"{scene.site.deployment.api}/{INDEX}/", content=body, headers=basic(scene.site.token) | form, timeout=30
    )
    scene.record("attack", (case.what, answer.status_code, answer.text))
    assert answer.status_code == case.code, answer.text
    assert case.says in answer.text


@attacks(28, Case("a local version (`+`): written `~` in the target path, `%2B` in the URL of the file", 0))
def test_row_28_local_version(case: Case, scene: Scene) -> None:
    """A `+` that belongs to a version never stands in a target path, and the file keeps its name."""
    name = "localwidget-1.0+build.1-py3-none-any.whl"
    index = f"{scene.site.deployment.api}/{INDEX}"
    answer = post_file(index, scene.site.token, name, make_wheel("localwidget", "1.0+build.1"))
    assert answer.status_code == 200, answer.text
    client: Victim = scene.client
    ended = client.get("localwidget==1.0+build.1")
    scene.record("attack", (case.what, ended.code, ended.words))
    assert (ended.code, ended.placed) == (case.code, (name,)), ended.words
    asked = [path for path in scene.server.seen if "localwidget" in path]
    assert any("~build.1" in path for path in asked)
    assert not any("+" in path.removeprefix(scene.tuf) for path in asked)
