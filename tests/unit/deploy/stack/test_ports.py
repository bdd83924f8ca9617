"""Ports of the real profile are kept from start to start, and changed when somebody else has them."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path

from deploy.stack.ports import choose_ports, is_free


def test_ports_differ_and_are_kept(tmp_path: Path) -> None:
    """Each name gets a port of its own, and the next start gets the same ones."""
    names = [f"name-{number}" for number in range(30)]
    first = choose_ports(names, tmp_path / "ports.json")
    assert len(set(first.values())) == 30
    assert choose_ports(names, tmp_path / "ports.json") == first
    assert stat.S_IMODE((tmp_path / "ports.json").stat().st_mode) == 0o600


def test_a_port_that_somebody_took_is_changed(tmp_path: Path) -> None:
    """Only the name whose port is in use gets another."""
    first = choose_ports(["a", "b"], tmp_path / "ports.json")
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", first["a"]))
        busy.listen()
        assert not is_free(first["a"])
        second = choose_ports(["a", "b"], tmp_path / "ports.json")
    assert second["a"] != first["a"]
    assert second["b"] == first["b"]


def test_a_file_that_holds_no_ports_is_not_believed(tmp_path: Path) -> None:
    """Nonsense, ports out of range, and one port for two names are replaced."""
    remembered = tmp_path / "ports.json"
    for text in ("", "nonsense", "[1]", json.dumps({"a": "x", "b": 80}), json.dumps({"a": 25000, "b": 25000})):
        remembered.write_text(text)
        chosen = choose_ports(["a", "b"], remembered)
        assert chosen["a"] != chosen["b"]
        assert all(20_000 <= port < 32_000 for port in chosen.values())
