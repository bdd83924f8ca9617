"""`countermark key`: what a key holder types, sees, and is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from countermark.cli import app
from countermark.core.ceremony.documents import parse_public_key_file

PASSPHRASE = "correct horse battery staple"

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run the command; `typed` is what the person types."""

    def call(*arguments: str | Path, typed: str = "", **environment: str) -> Result:
        return CliRunner().invoke(app, ["key", *map(str, arguments)], input=typed, env={"COLUMNS": "200"} | environment)

    return call


def test_a_holder_makes_shows_and_tries_a_key(run: Run, tmp_path: Path) -> None:
    """The passphrase is asked for twice and shown nowhere; the public file that comes out is what a ceremony reads."""
    file, public = tmp_path / "ada.pem", tmp_path / "ada.json"
    made = run("new", f"pkcs8:{file}", "--holder", "Ada", "-o", public, typed=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    assert made.exit_code == 0, made.stderr
    assert "A new passphrase for key" in made.stderr
    assert PASSPHRASE not in made.output + public.read_text()
    read = parse_public_key_file(public.read_bytes())
    assert read.holder == "Ada"
    assert f"key     {read.key.keyid}" in made.stdout.splitlines()
    shown = run("show", public)
    assert shown.stdout.splitlines()[:3] == [f"key     {read.key.keyid}", "kind    ed25519", "holder  Ada"]
    again = run("show", f"pkcs8:{file}", "--json", typed=f"{PASSPHRASE}\n")
    assert json.loads(again.stdout.splitlines()[-1])["keyid"] == read.key.keyid
    tried = run("check", f"pkcs8:{file}", public, COUNTERMARK_KEY_SECRET=PASSPHRASE)
    assert tried.stdout == f"key {read.key.keyid} signs\n"


def test_where_a_secret_comes_from(run: Run, tmp_path: Path) -> None:
    """A file that is named, one that the environment names, the environment, then the person."""
    secret, public = tmp_path / "secret", tmp_path / "public.json"
    secret.write_text(PASSPHRASE + "\n")
    uri = f"pkcs8:{tmp_path / 'key.pem'}"
    assert run("new", uri, "-o", public, "--secret-file", secret).exit_code == 0
    assert run("check", uri, public, COUNTERMARK_KEY_SECRET_FILE=str(secret)).exit_code == 0
    assert run("check", uri, public, "--secret-file", secret, COUNTERMARK_KEY_SECRET="wrong").exit_code == 0
    wrong = run("check", uri, public, COUNTERMARK_KEY_SECRET="wrong wrong wrong")
    assert wrong.exit_code == 1
    assert "Correct the passphrase" in wrong.stderr
    assert "wrong wrong" not in wrong.output
    silent = run("check", uri, public)
    assert "was not given" in silent.stderr
    assert "--secret-file" in silent.stderr


def test_a_key_without_a_passphrase_is_told(run: Run, tmp_path: Path) -> None:
    """`file2:` makes one, with a note of what that means."""
    made = run("new", f"file2:{tmp_path / 'a.pem'}")
    assert made.exit_code == 0
    assert "not encrypted" in made.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("new", "awskms:abc"), "are made with the means of their store"),
        (("new", "ftp:abc"), "no scheme of a private key"),
        (("new", "hsm:2?pin=1"), "knows no pin"),
        (("new", "pkcs8:{folder}/a.pem", "--holder", "a\nb"), "all to be seen"),
        (("new", "pkcs8:{folder}/a.pem", "-o", "{folder}/none/a.json"), "a folder that does not exist"),
        (("new", "pkcs8:{folder}/a.pem", "-o", "{folder}/there.json"), "not written over"),
        (("new", "pkcs8:{folder}/there.json"), "not written over"),
        (("show", "{folder}/there.json"), "no usable public key"),
        (("show", "{folder}/absent.json"), "cannot be read"),
        (("check", "file2:{folder}/a.pem", "{folder}/there.json"), "no usable public key"),
    ],
)
def test_what_is_refused_makes_nothing(run: Run, arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    """One message, exit code 1, and no file more than before."""
    (tmp_path / "there.json").write_text("{}")
    ended = run(*(argument.format(folder=tmp_path) for argument in arguments), typed=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    assert ended.exit_code == 1
    assert words in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there.json"]
    assert (tmp_path / "there.json").read_text() == "{}"
