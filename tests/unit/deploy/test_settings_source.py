"""Settings: where values come from, which win, and what is said of those that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy.errors import UsageError
from deploy.settings_source import DEFAULT_ORIGIN, LoadedSettings, Sources, load


def loaded(
    command_line: dict[str, str] | None = None, environ: dict[str, str] | None = None, config: Path | None = None
) -> LoadedSettings:
    """Load settings from these places alone."""
    return load(Sources(command_line or {}, environ or {}, config))


def faults(
    command_line: dict[str, str] | None = None, environ: dict[str, str] | None = None, config: Path | None = None
) -> list[str]:
    """Return the lines by which these settings are refused."""
    with pytest.raises(UsageError) as refused:
        loaded(command_line, environ, config)
    return str(refused.value).splitlines()


def written(folder: Path, text: str) -> Path:
    """Write a settings file."""
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_has_a_default() -> None:
    """Without any source every setting has a value, and says that it is the default."""
    settings = loaded()
    assert settings.settings.listen.api_port == 3141
    assert {entry.origin for entry in settings.listing()} == {DEFAULT_ORIGIN}


def test_command_line_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    """Each source wins over the next, setting by setting, and each value says where it is from."""
    config = written(tmp_path, "staleness = 5\n[listen]\napi_port = 1\nui_port = 1\nservice_port = 1\n")
    environ = {"COUNTERMARK_LISTEN__API_PORT": "2", "COUNTERMARK_LISTEN__UI_PORT": "2"}
    found = loaded({"listen.api_port": "3"}, environ, config)
    listen = found.settings.listen
    assert (listen.api_port, listen.ui_port, listen.service_port, found.settings.staleness) == (3, 2, 1, 5.0)
    origins = {entry.key: entry.origin for entry in found.listing()}
    assert origins["listen.api_port"] == "command line"
    assert origins["listen.ui_port"] == "environment COUNTERMARK_LISTEN__UI_PORT"
    assert origins["listen.service_port"] == str(config)
    assert origins["listen.host"] == DEFAULT_ORIGIN


def test_the_file_in_the_data_folder_is_read_when_none_is_named(tmp_path: Path) -> None:
    """countermark.toml in the data folder counts, unless --config names another file."""
    (tmp_path / "countermark.toml").write_text("staleness = 7\n")
    other = written(tmp_path, "staleness = 8\n")
    assert loaded({"data": str(tmp_path)}).settings.staleness == 7
    assert loaded({"data": str(tmp_path)}, config=other).settings.staleness == 8


def test_the_file_in_the_data_folder_cannot_move_the_data_folder(tmp_path: Path) -> None:
    """It would have to be read to be found."""
    (tmp_path / "countermark.toml").write_text('data = "/elsewhere"\n')
    (line,) = faults({"data": str(tmp_path)})
    assert "data cannot be set in the file that lies in the data folder" in line


def test_all_unknown_keys_are_refused_at_once_with_hints(tmp_path: Path) -> None:
    """A misspelled key of any source is an error with the key that was probably meant."""
    config = written(tmp_path, "[listen]\napi_prot = 1\n[nonsense]\nx = 1\n")
    lines = faults({"stalenes": "1"}, {"COUNTERMARK_API_PORT": "1", "COUNTERMARK_QQQQ": "1"}, config)
    assert sorted(lines) == sorted(
        [
            "unknown setting stalenes (did you mean staleness?)",
            "unknown environment variable COUNTERMARK_API_PORT (did you mean COUNTERMARK_LISTEN__API_PORT?)",
            "unknown environment variable COUNTERMARK_QQQQ",
            f"{config}: unknown setting listen.api_prot (did you mean listen.api_port?)",
            f"{config}: unknown setting nonsense.x",
        ]
    )


def test_variables_of_the_client_and_of_others_are_left_alone() -> None:
    """The client's variables may stand in the same environment."""
    assert loaded(environ={"COUNTERMARK_TOKEN": "x", "COUNTERMARK_HOME": "/x", "OTHER": "1"}).origins == {}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("listen.api_port", "99999", "listen.api_port (command line): Input should be less than or equal to 65535"),
        ("listen.api_port", "http", "Input should be a valid integer"),
        ("objects.kind", "tape", "Input should be 'folder' or 's3'"),
        ("outside_url", "packages.example.org", "outside_url: must be http(s)://host"),
        ("outside_url", "https://packages.example.org/", "without a trailing slash"),
        ("database.url", "mysql://h/d", "database.url: must begin with postgresql+asyncpg://, not mysql"),
        ("queue.url", "amqp://h", "queue.url: must begin with redis://, rediss:// or unix://, not amqp"),
        ("listen.trusted_proxies", "10.0.0.1,ingress", "'ingress' is no address and no network such as 10.0.0.0/8"),
        ("listen.trusted_proxies", "0.0.0.0/0", "'0.0.0.0/0' is everybody: name the proxies alone"),
        ("listen.trusted_proxies", "10.0.0.1,::/0", "'::/0' is everybody: name the proxies alone"),
        ("listen.trusted_proxies", "10.0.0.1/8", "'10.0.0.1/8' is no address"),
        ("objects.ca_file", "/no/such/file", "objects.ca_file: there is no file /no/such/file"),
        ("listen.ui_port", "3141", "listen.ui_port: must differ from listen.api_port"),
    ],
)
def test_a_value_that_cannot_work_is_one_line(key: str, value: str, words: str) -> None:
    """A value out of range or of the wrong kind names its key, its origin and what is allowed."""
    (line,) = faults({key: value})
    assert words in line


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    """Neither the list of settings nor an error holds a secret."""
    secret = "postgresql+asyncpg://u:hunter2@h/d"
    found = loaded(environ={"COUNTERMARK_DATABASE__URL": secret})
    assert found.settings.database.url == SecretStr(secret)
    assert "hunter2" not in str([*found.listing(), found.settings])
    config = written(tmp_path, '[database]\nurl = ["hunter2"]\n')
    assert "hunter2" not in "".join(faults(config=config))


def test_secrets_may_lie_in_files(tmp_path: Path) -> None:
    """`..._FILE` and `..._file` name a file with the secret; the newline at its end is not part of it."""
    (tmp_path / "url").write_text("redis://:pw@h:1/0\n")
    by_variable = loaded(environ={"COUNTERMARK_QUEUE__URL_FILE": str(tmp_path / "url")})
    by_toml = loaded(config=written(tmp_path, '[queue]\nurl_file = "url"\n'))
    for found in (by_variable, by_toml):
        assert found.settings.queue.url == SecretStr("redis://:pw@h:1/0")
    assert by_variable.origins["queue.url"] == "environment COUNTERMARK_QUEUE__URL_FILE"


def test_faults_of_secret_files_are_one_line_each(tmp_path: Path) -> None:
    """A missing or huge file, a secret given twice, and a file for what is no secret are refused."""
    (tmp_path / "huge").write_bytes(b"x" * 70_000)
    assert "cannot be read" in faults(environ={"COUNTERMARK_QUEUE__URL_FILE": str(tmp_path / "none")})[0]
    assert "larger than" in faults(environ={"COUNTERMARK_QUEUE__URL_FILE": str(tmp_path / "huge")})[0]
    twice = {"COUNTERMARK_QUEUE__URL_FILE": str(tmp_path / "huge"), "COUNTERMARK_QUEUE__URL": "redis://h"}
    assert "unset one" in faults(environ=twice)[0]
    (line,) = faults(environ={"COUNTERMARK_LISTEN__HOST_FILE": str(tmp_path / "huge")})
    assert "unknown environment variable COUNTERMARK_LISTEN__HOST_FILE" in line


def test_a_file_that_is_no_toml_or_is_not_there_is_one_line(tmp_path: Path) -> None:
    """A settings file that cannot be used names itself."""
    broken = written(tmp_path, "listen = {")
    assert faults(config=broken)[0].startswith(f"{broken} is not valid TOML")
    assert "cannot be read" in faults(config=tmp_path / "none.toml")[0]


def test_the_data_folder_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children have working folders of their own, so a relative folder is resolved where it was written."""
    monkeypatch.chdir(tmp_path)
    assert loaded({"data": "some/where"}).settings.data == tmp_path / "some" / "where"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("listen.host", "0.0.0.0", "listen.host must be loopback, not 0.0.0.0"),
        ("outside_url", "https://packages.example.org", "outside_url must be loopback, not packages.example.org"),
        ("outside_ui_url", "https://packages.example.org", "outside_ui_url must be loopback"),
        ("listen.trusted_proxies", "10.0.0.1", "unset listen.trusted_proxies"),
        ("signing.profile", "production", "set signing.profile = development"),
    ],
)
def test_an_open_devpi_stays_on_this_machine(key: str, value: str, words: str) -> None:
    """Whatever lets others in is refused; loopback is fine, and without `compat` all of it is."""
    (line,) = faults({"compat": "devpi-open", key: value})
    assert words in line
    load(Sources({"compat": "devpi-open"}, {}))
    load(Sources({key: value}, {}))
