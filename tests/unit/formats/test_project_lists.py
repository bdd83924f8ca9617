"""Lists of projects: read as other registries write them, packed, and written in parts."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from shared.formats.python import simple_lists
from shared.formats.python.html import project_list_html_parts
from shared.formats.python.packed_lists import PART_ROWS, joined_rows, pack_rows, parted, unpack_rows
from shared.formats.python.pages import project_list_json, project_list_json_parts
from shared.formats.python.simple_lists import read_projects
from shared.formats.python.simple_pages import JSON_TYPE, UnreadablePage

_LONG = 12_000
"""Projects of a list that is read in batches."""


def listed(projects: object, **more: object) -> bytes:
    """Return a list as an upstream writes it."""
    return json.dumps({"meta": {"api-version": "1.0"}, **more, "projects": projects}, indent=1).encode()


def named(number: int) -> list[dict[str, Any]]:
    """Return the entries of a number of projects."""
    words = 'a "quoted" {brace}, [bracket]'
    return [{"name": f"project-{n}", "_last-serial": n, "words": words} for n in range(number)]


class TestReading:
    """What is taken from an upstream."""

    def test_both_forms_are_read(self) -> None:
        """By what projects are called; a link without a text by where it leads."""
        assert list(read_projects(listed([{"name": "a"}, {"name": "b", "x": [1]}, {"n": 1}]), JSON_TYPE)) == ["a", "b"]
        html = b'<a href="a/">A</a> <a>no</a><a href="/simple/b/"></a><a href="c/">c&amp;c<a href="d/">d'
        assert list(read_projects(html, "text/html")) == ["A", "b", "c&c", "d"]

    @pytest.mark.parametrize("number", [0, 1, _LONG])
    def test_a_list_of_any_length_is_the_same(self, number: int) -> None:
        """Long ones are read in batches; what stands beside the entries makes no difference."""
        body = listed(named(number), other={"projects": "none"}, _x="y" * 10)
        assert list(read_projects(body, JSON_TYPE)) == [f"project-{n}" for n in range(number)]

    @pytest.mark.parametrize(
        ("damaged", "words"),
        [
            (lambda body: body.replace(b'"name": "project-9000"', b'"name": "project-9000'), "no|not"),
            (lambda body: body.replace(b'"name": "project-9000",', b'"name": ["project-9000"],'), "not|none"),
            (lambda body: body.replace(b'"name": "project-9000",', b'"name" "project-9000",'), "no JSON"),
            (lambda body: body.replace(b'"project-9000"', b'"%s"' % (b"x" * 70_000)), "more than"),
            (lambda body: body[: len(body) // 2], "no|not"),
            (lambda body: body.replace(b'"1.0"', b'"2.0"'), "api-version"),
            (lambda body: body.replace(b"\n ]", b",\n ]"), "none that is read"),
            (lambda body: body + b"x", "no JSON"),
            (lambda body: body + b" " * (2 << 20), "not read to its end"),
            (lambda body: b"[" * len(body), "no JSON"),
        ],
    )
    def test_damaged_lists_are_refused(self, damaged: Any, words: str) -> None:
        """Wherever the damage is, in one sentence."""
        body = damaged(listed(named(_LONG)))
        with pytest.raises(UnreadablePage, match=words):
            list(read_projects(body, JSON_TYPE))

    def test_endless_lists_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Above a bound, in both forms."""
        monkeypatch.setattr(simple_lists, "MOST_PROJECTS", 3)
        html = b"".join(b'<a href="%d/">%d</a>' % (n, n) for n in range(4))
        for body, kind in ((listed(named(4)), JSON_TYPE), (html, "text/html")):
            with pytest.raises(UnreadablePage, match="more than 3 projects"):
                list(read_projects(body, kind))

    def test_a_long_list_takes_little_memory(self) -> None:
        """A tree of it would take some 8 MB."""
        body = listed(named(_LONG))
        tracemalloc.start()
        try:
            assert sum(1 for _ in read_projects(body, JSON_TYPE)) == _LONG
            assert tracemalloc.get_traced_memory()[1] < 2 << 20
        finally:
            tracemalloc.stop()


class TestWriting:
    """What is kept, and rendered of it."""

    def test_rows_come_back(self) -> None:
        """With and without serials, in parts that are bounded."""
        rows = [(f"project-{n}", n if n % 3 else None) for n in range(3 * PART_ROWS + 7)]
        packed, number = pack_rows(rows)
        assert number == len(rows)
        assert list(joined_rows(unpack_rows(packed))) == rows
        assert max(map(len, unpack_rows(packed))) <= PART_ROWS
        assert list(unpack_rows(pack_rows([])[0])) == []

    def test_damage_is_an_error(self) -> None:
        """And not a shorter list."""
        packed, _ = pack_rows((f"project-{n}", None) for n in range(100))
        for damaged in (b"x" + packed[1:], packed[: len(packed) // 2]):
            with pytest.raises(ValueError, match="damaged"):
                list(unpack_rows(damaged))

    def test_parts_are_the_whole(self) -> None:
        """However the list is cut; a project without a serial has none."""
        rows = [("a", 1), ("b", None), ("c", 3)]
        assert json.loads(project_list_json(9, rows)) == {
            "meta": {"api-version": "1.4", "_last-serial": 9},
            "projects": [{"name": "a", "_last-serial": 1}, {"name": "b"}, {"name": "c", "_last-serial": 3}],
        }
        assert b"".join(project_list_json_parts(9, [rows[:1], rows[1:]])) == project_list_json(9, rows)
        html = b"".join(project_list_html_parts(9, parted(rows)))
        assert html.count(b'<a href="') == 3
        assert html.endswith(b"  </body>\n</html>\n<!--SERIAL 9-->\n")
