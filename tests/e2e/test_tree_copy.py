"""A tree copied from a running registry into a folder, which a plain web server serves to the real clients.

Source: trust contract section 2.6 (mirrors' copy order).
"""

from __future__ import annotations

from pathlib import Path

from tests.support.archives import make_wheel, wheel_name
from tests.support.clients import VerifyingClient, make_environment, static_server
from tests.support.processes import Deployment
from tests.support.tree_audit import audit, folder_reader
from tests.support.uploading import post_file
from tests.support.waiting import until

_INDEX = "root/copied"


def test_a_copy_serves_installers_and_verifying_clients(deployment: Deployment, tmp_path: Path) -> None:
    """pip installs from its pages, the verifying client proves from its metadata, the probe finds it well; run again,
    the command brings what is new."""
    made = deployment.command("index", "create", _INDEX)
    assert made.returncode == 0, made.stderr
    token, folder = deployment.token(index=_INDEX), tmp_path / "mirror"
    post(deployment, token, "1.0")
    # The static pages follow a publication in a job of their own.
    assert deployment.command("rebuild", _INDEX).returncode == 0
    copied = deployment.command("tree", "copy", _INDEX, str(folder))
    assert copied.returncode == 0, copied.stderr
    # Page, pointer and newest release, and the trust root that the profile signs.
    assert "copied 1 files, 4 targets" in copied.stdout
    assert audit(folder_reader(folder, _INDEX)).faults == []
    client = VerifyingClient(tmp_path / "home")
    with static_server(folder) as url:
        tree = f"{url}/indexes/{_INDEX}"
        environment = make_environment(tmp_path / "venv")
        installed = environment.pip_install(f"{tree}/simple/", "mirrored-one")
        assert installed.returncode == 0, installed.stderr
        assert environment.version_of("mirrored-one") == "1.0"
        reading = ("--repository", tree, "--trust-on-first-use", "--dest", str(tmp_path / "proven"))
        proven = client("download", "mirrored-one", *reading)
        assert proven.returncode == 0, proven.stderr
        probed = client("probe", tree)
        assert probed.returncode == 0, probed.stderr
        post(deployment, token, "1.1")
        assert deployment.command("tree", "copy", _INDEX, str(folder), "--no-pages").returncode == 0
        proven = client("download", "mirrored-one==1.1", *reading)
        assert proven.returncode == 0, proven.stderr
    assert audit(folder_reader(folder, _INDEX)).faults == []


def post(deployment: Deployment, token: str, version: str) -> None:
    """Upload a wheel; returns when the tree has it, which on a busy machine may be after the answer."""
    name = wheel_name("mirrored-one", version)
    answer = post_file(f"{deployment.api}/{_INDEX}", token, name, make_wheel("mirrored-one", version))
    assert answer.status_code == 200, answer.text
    until(f"{name} in the tree", lambda: name in audit(folder_reader(deployment.tree, _INDEX)).listed("mirrored-one"))


def test_what_cannot_be_copied_is_told(deployment: Deployment, tmp_path: Path) -> None:
    """An index that is none ends with 2, one that is not there with 1, and nothing is written."""
    none = deployment.command("tree", "copy", "Root", str(tmp_path / "a"))
    assert none.returncode == 2, none.stderr
    absent = deployment.command("tree", "copy", "root/nowhere", str(tmp_path / "a"))
    assert (absent.returncode, "there is no index root/nowhere" in absent.stderr) == (1, True)
    assert not (tmp_path / "a").exists()
