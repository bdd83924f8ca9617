"""Settings of private keys: tables in a file, a variable or a secret's file; what is refused, and never repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.errors import UsageError
from deploy.settings_source import Sources, load
from shared.settings import Settings

KEYID = "ab" * 32


def loaded(**environ: str) -> Settings:
    """Return the settings that these variables make."""
    return load(Sources({}, {f"COUNTERMARK_{name}": value for name, value in environ.items()})).settings


def test_tables_in_variables_and_files(tmp_path: Path) -> None:
    """URIs and secrets are JSON objects there; a secret's file is read as others are."""
    file = tmp_path / "secrets.json"
    file.write_text(json.dumps({"token:online": "4711", f"key:{KEYID[:16]}": "file:/run/secrets/p"}) + "\n")
    settings = loaded(
        SIGNING__URIS=json.dumps({KEYID: "hsm:2?label=online"}),
        SIGNING__SECRETS_FILE=str(file),
        SIGNING__PKCS11_MODULE="/usr/lib/softhsm/libsofthsm2.so",
    )
    assert settings.signing.uris == {KEYID: "hsm:2?label=online"}
    assert settings.signing.secrets["token:online"].get_secret_value() == "4711"
    assert "4711" not in repr(settings)


def test_tables_in_the_settings_file(tmp_path: Path) -> None:
    """In TOML they are tables, and `config show` masks the secrets."""
    config = tmp_path / "countermark.toml"
    config.write_text(f'[signing.uris]\n{KEYID} = "hv:snapshot/1"\n[signing.secrets]\n"token:a b" = "4711"\n')
    found = load(Sources({}, {}, config))
    assert found.settings.signing.uris == {KEYID: "hv:snapshot/1"}
    assert found.settings.signing.secrets["token:a b"].get_secret_value() == "4711"
    assert "4711" not in str(found.listing())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SIGNING__URIS", "hsm:2", "a JSON object"),
        ("SIGNING__URIS", "[1]", "a JSON object"),
        ("SIGNING__URIS", json.dumps({"abc": "hsm:2"}), "whole key id"),
        ("SIGNING__URIS", json.dumps({KEYID: "hsm:2?label=a&pin=4711"}), "knows no pin"),
        ("SIGNING__URIS", json.dumps({KEYID: "ftp:x"}), "no scheme"),
        ("SIGNING__SECRETS", "4711", "a JSON object"),
        ("SIGNING__SECRETS", json.dumps({"online": "4711"}), "stand under token:<label>"),
        ("SIGNING__SECRETS", json.dumps({"key:ab": "4711"}), "at least 8 digits"),
        ("SIGNING__SECRETS", json.dumps({"token:a": ""}), "is empty"),
    ],
)
def test_what_is_refused(name: str, value: str, words: str) -> None:
    """Each in words, and of secrets none is repeated."""
    with pytest.raises(UsageError, match=words) as caught:
        loaded(**{name: value})
    if "SECRETS" in name:
        assert "4711" not in str(caught.value)
