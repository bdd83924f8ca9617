"""Settings and credentials: where they come from and whom they are for."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from countermark.core.errors import UsageFault
from countermark.credentials import Secrets, find_credentials
from countermark.settings import read_settings


def _header(url: str, secrets: Secrets) -> str | None:
    found = find_credentials(url, secrets, lambda _: None)
    return found.authorization if found else None


def test_home_holds_everything(tmp_path: Path) -> None:
    """COUNTERMARK_HOME holds pinned roots and cache."""
    settings = read_settings({"COUNTERMARK_HOME": str(tmp_path), "COUNTERMARK_TOKEN": "", "NETRC": "/n"})
    assert settings.pins_folder == tmp_path / "roots"
    assert settings.cache_folder == tmp_path / "cache"
    assert settings.secrets == Secrets(netrc=Path("/n"))


def test_a_deadline_is_whole_seconds() -> None:
    """It is bounded, and what is no number of seconds is a usage fault that names the variable."""
    assert read_settings({"COUNTERMARK_DEADLINE": "5"}).deadline == timedelta(seconds=5)
    assert read_settings({"COUNTERMARK_DEADLINE": ""}).deadline is None
    for text in ("0", "-1", "1.5", "five", "86401", "9" * 5000, "\u0665"):
        with pytest.raises(UsageFault, match="COUNTERMARK_DEADLINE"):
            read_settings({"COUNTERMARK_DEADLINE": text})


def test_a_repository_must_be_named() -> None:
    """The flag goes before the environment, and one of them must be there."""
    settings = read_settings({"COUNTERMARK_REPOSITORY": "https://host/root/stable"})
    assert settings.repository_or(None, "--repository") == "https://host/root/stable"
    assert settings.repository_or("https://b/x/y", "--repository") == "https://b/x/y"
    with pytest.raises(UsageFault):
        read_settings({}).repository_or(None, "--repository")


def test_the_environments_token_stays_with_the_environments_repository() -> None:
    """A token of the environment is not sent to another host that a flag names; a token given by flag is."""
    settings = read_settings({"COUNTERMARK_REPOSITORY": "https://host/root/stable", "COUNTERMARK_TOKEN": "cmk_1abc"})
    assert settings.secrets_for("https://host/team/dev").token == "cmk_1abc"
    assert settings.secrets_for("https://elsewhere/team/dev").token is None
    assert settings.secrets_for("http://host/team/dev").token is None
    assert settings.secrets_for("https://elsewhere/team/dev", "cmk_1def").token == "cmk_1def"


def test_credentials_by_rank(tmp_path: Path) -> None:
    """The URL's come first, then the token, then user and password, then netrc for that host only."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine host login n password p\n")
    both = Secrets(token="cmk_1abc", username="u", password="p", netrc=netrc)
    assert _header("https://x:y%40z@host/a/b", both) == "Basic eDp5QHo="
    assert _header("https://host/a/b", both) == "Bearer cmk_1abc"
    assert _header("https://host/a/b", Secrets(username="u", password="p", netrc=netrc)) == "Basic dTpw"
    assert _header("https://host/a/b", Secrets(netrc=netrc)) == "Basic bjpw"
    assert _header("https://elsewhere/a/b", Secrets(netrc=netrc)) is None
    assert _header("https://host/a/b", Secrets(netrc=tmp_path / "missing")) is None
    assert _header(str(tmp_path), both) is None


@pytest.mark.parametrize("secrets", [Secrets(username="u"), Secrets(password="p"), Secrets(token="two words")])
def test_half_credentials_are_refused(secrets: Secrets) -> None:
    """A user without password, a password without user, and a token with a space are usage faults."""
    with pytest.raises(UsageFault):
        _header("https://host/a/b", secrets)


def test_unencrypted_credentials_are_told() -> None:
    """Credentials over plain http to another machine are told; to this machine they are not."""
    told: list[str] = []
    find_credentials("http://host/a/b", Secrets(token="cmk_1abc"), told.append)
    find_credentials("http://127.0.0.1/a/b", Secrets(token="cmk_1abc"), told.append)
    assert len(told) == 1
    assert "unencrypted" in told[0]
