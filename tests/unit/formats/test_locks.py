"""What is read out of lock files and requirements."""

from __future__ import annotations

import pytest
from packaging.version import Version

from shared.formats.python.locks import Lock, Locked, UnreadableLock, read_lock

_A, _B = "aa" * 32, "bb" * 32

_UV = f"""
version = 1
requires-python = ">=3.11"

[[package]]
name = "hello"
version = "1.0"
source = {{ registry = "https://index.example/simple/" }}
sdist = {{ url = "https://index.example/f/hello-1.0.tar.gz", hash = "sha256:{_A}", size = 7 }}
wheels = [{{ url = "https://index.example/f/hello-1.0%2Bx-py3-none-any.whl", hash = "sha256:{_B}" }}]

[[package]]
name = "mine"
version = "0.1"
source = {{ virtual = "." }}
"""

_PYLOCK = f"""
lock-version = "1.0"
created-by = "test"

[[packages]]
name = "hello"
version = "1.0"
sdist = {{ name = "hello-1.0.tar.gz", url = "https://h/hello-1.0.tar.gz", hashes = {{ sha256 = "{_A}" }} }}
[[packages.wheels]]
url = "https://h/hello-1.0-py3-none-any.whl"
hashes = {{ sha256 = "{_B}" }}

[[packages]]
name = "mine"
directory = {{ path = "." }}
"""

_POETRY = f"""
[[package]]
name = "hello"
version = "1.0"
files = [{{ file = "hello-1.0.tar.gz", hash = "sha256:{_A}" }}, {{ file = "hello-1.0-py3-none-any.whl" }}]

[[package]]
name = "mine"
version = "0.1"
files = []
[package.source]
type = "directory"
url = "."

[metadata]
lock-version = "2.1"
content-hash = "x"
"""


def _only(lock: Lock) -> Locked:
    (locked,) = lock.releases
    assert (locked.project, locked.version) == ("hello", Version("1.0"))
    return locked


def test_uv() -> None:
    """Files by the last segment of their address, decoded; what comes from no index is left out and said."""
    lock = read_lock("some/uv.lock", _UV.encode())
    assert _only(lock).files == {"hello-1.0.tar.gz": _A, "hello-1.0+x-py3-none-any.whl": _B}
    assert lock.left_out == ("mine: it comes from a folder, an archive or a repository, and no index",)


@pytest.mark.parametrize("name", ["pylock.toml", "pylock.prod.toml"])
def test_pylock(name: str) -> None:
    """Names of files are given or those of their addresses."""
    lock = read_lock(name, _PYLOCK.encode())
    assert _only(lock).files == {"hello-1.0.tar.gz": _A, "hello-1.0-py3-none-any.whl": _B}
    assert len(lock.left_out) == 1


def test_poetry() -> None:
    """Of both layouts; a file without a digest is one that any digest may have."""
    lock = read_lock("poetry.lock", _POETRY.encode())
    assert _only(lock).files == {"hello-1.0.tar.gz": _A, "hello-1.0-py3-none-any.whl": None}
    assert len(lock.left_out) == 1
    file = f'{{file="hello-1.0.zip",hash="sha256:{_A}"}}'
    old = f'[[package]]\nname="hello"\nversion="1.0"\n[metadata.files]\nhello=[{file}]'
    assert _only(read_lock("poetry.lock", old.encode())).files == {"hello-1.0.zip": _A}


def test_requirements() -> None:
    """Comments, continued lines, extras, markers and digests; options are left out and said."""
    text = f"""# made by hand
--index-url https://index.example/simple/
Hello[extra]==1.0 ; python_version >= "3.8" \\
    --hash=sha256:{_A} \\
    --hash=sha256:{_B}  # why
world>=2,<3
-e .
other @ https://h/other.zip
"""
    lock = read_lock("requirements.txt", text.encode())
    hello, world = lock.releases
    assert (hello.project, hello.version) == ("hello", Version("1.0"))
    assert sorted(hello.digests) == [_A, _B]
    assert hello.requirement is not None
    assert str(hello.requirement.marker) == 'python_version >= "3.8"'
    assert (world.project, world.version, str(world.allowed)) == ("world", None, "<3,>=2")
    assert len(lock.left_out) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("requirements.txt", b"hello==1.0 world"),
        ("requirements.txt", b"\xff"),
        ("uv.lock", b"version = "),
        ("uv.lock", b"x = 1"),
        ("uv.lock", b"version = 1\npackage = 7"),
        ("uv.lock", b'version = 1\n[[package]]\nname="../x"\nversion="1"\nsource={registry="x"}'),
        ("uv.lock", b'version = 1\n[[package]]\nname="x"\nversion="one"\nsource={registry="x"}'),
        ("pylock.toml", b'lock-version = "9.0"'),
        ("pyproject.toml", b"[project]\nname='x'"),
        ("uv.lock", b"a = " + b"[" * 5000),
    ],
)
def test_what_locks_nothing_is_said(name: str, content: bytes) -> None:
    """With the reason, whatever is wrong."""
    with pytest.raises(UnreadableLock):
        read_lock(name, content)
