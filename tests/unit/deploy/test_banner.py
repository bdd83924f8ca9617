"""The lines that a person copies after a start."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from deploy.banner import Facts, render

_FACTS = Facts(
    api="http://127.0.0.1:3141",
    ui="http://127.0.0.1:3142",
    index="root/stable",
    data=Path("/srv/data"),
    programs=".venv/bin/",
    owner_link="http://127.0.0.1:3142/welcome?code=x",
    seconds=2.04,
)


def test_it_names_both_hosts_the_owner_link_and_a_line_for_each_tool() -> None:
    """All that a new user needs is there, with this deployment's addresses."""
    text = render(_FACTS)
    for line in (
        "http://127.0.0.1:3142/welcome?code=x",
        "pip install --index-url http://127.0.0.1:3141/root/stable/+simple/ NAME",
        "uv pip install --index-url http://127.0.0.1:3141/root/stable/+simple/ NAME",
        ".venv/bin/countermark download --repository http://127.0.0.1:3141/root/stable --trust-on-first-use NAME",
        "TOKEN=$(.venv/bin/countermark-server token create --data /srv/data --user root --index root/stable)",
        "twine upload --repository-url http://127.0.0.1:3141/root/stable/ --username __token__ --password ",
        'uv publish --publish-url http://127.0.0.1:3141/root/stable/ --token "$TOKEN" dist/*',
    ):
        assert line in text
    assert "for development only" in text


def test_the_owner_link_is_left_out_when_there_is_none() -> None:
    """A deployment that has its owner prints no link."""
    assert "owner" not in render(replace(_FACTS, owner_link=None))


def test_a_folder_with_spaces_can_still_be_copied() -> None:
    """What is printed for a shell is one word to a shell."""
    text = render(replace(_FACTS, data=Path("/srv/it's my data")))
    (line,) = [line for line in text.splitlines() if "token create" in line]
    assert "/srv/it's my data" in shlex.split(line.split("$(")[1].rstrip(")"))


def test_an_open_devpi_is_told_loudly() -> None:
    """Nobody starts one without reading what it lets everybody do."""
    assert "OPEN AS A PLAIN DEVPI-SERVER" in render(replace(_FACTS, open_devpi=True))
    assert "OPEN" not in render(_FACTS)


def test_keys_that_people_hold_are_not_called_unprotected() -> None:
    """The development warning is the development profile's alone."""
    assert "for development only" not in render(replace(_FACTS, profile="small"))
