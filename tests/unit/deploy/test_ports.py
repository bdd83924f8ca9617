"""Ports are taken before anything is made."""

from __future__ import annotations

import socket

import pytest

from deploy.errors import LaunchError
from deploy.ports import Ports, port_of, take_port
from shared.settings import Listen, Settings


def test_a_busy_port_is_told_with_how_to_choose_another() -> None:
    """One line names the port, the host and the variable."""
    with take_port("127.0.0.1", 0, "X") as taken:
        port = port_of(taken)
        with pytest.raises(LaunchError, match=rf"port {port} on 127\.0\.0\.1 is in use: choose another with API_PORT="):
            take_port("127.0.0.1", port, "API_PORT")


def test_an_address_of_another_machine_is_told() -> None:
    """An address that is not this machine's cannot be listened on."""
    with pytest.raises(LaunchError, match=r"cannot listen on 192\.0\.2\.1"):
        take_port("192.0.2.1", 0, "API_PORT")


def test_both_ports_are_given_back_when_the_second_is_busy() -> None:
    """Nothing is kept of a start that failed."""
    with take_port("127.0.0.1", 0, "X") as busy, take_port("127.0.0.1", 0, "Y") as free:
        free_port = port_of(free)
        free.close()
        listen = Listen(api_port=free_port, ui_port=port_of(busy))
        with pytest.raises(LaunchError, match="UI_PORT"), Ports.taken(listen):
            pass
        take_port("127.0.0.1", free_port, "X").close()


def test_settings_learn_which_free_port_was_taken() -> None:
    """Port 0 means any; what is printed is the one that was got."""
    with Ports.taken(Listen(api_port=0, ui_port=0)) as ports:
        told = ports.told(Settings())
        assert told.listen.api_port == port_of(ports.api) != 0
        with socket.create_connection(("127.0.0.1", told.listen.ui_port), timeout=5):
            pass
