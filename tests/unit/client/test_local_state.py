"""What the client keeps on this machine: pinned roots and cached metadata. Rows: trust contract section 6, row 29."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Metadata, Root

from countermark.cache import Cache, repository_key
from countermark.core.digest import sha256_of
from countermark.core.errors import BelowThreshold, InvalidMetadata, LocalState
from countermark.location import parse_location
from countermark.roots import PinOrigin, RootChoice, read_root, walk_roots
from countermark.transport import Transport
from tests.support.simulator import Deployment, RepositorySimulator, signed_bytes
from tests.unit.client.conftest import WHEEL, Client
from tests.unit.client.loopback import serving

FIRST_USE = RootChoice(trust_on_first_use=True)


def _cache_folder(client: Client) -> Path:
    (repository,) = (client.home / "cache").iterdir()
    return next(path for path in repository.iterdir() if path.is_dir())


def test_row_29_eight_at_once_on_one_cache(sim: RepositorySimulator, client: Client) -> None:
    """Eight clients that share a cache all end 0."""
    clients = [replace(client, notices=[], steps=[]) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda each: each.get(), clients))
    assert [outcome.words for outcome in outcomes if outcome.code] == []


@pytest.mark.parametrize("name", ["timestamp", "snapshot", "targets", "registry", "root"])
def test_row_29_corrupted_cache_files_heal(name: str, client: Client) -> None:
    """A damaged metadata file costs a download, not the run."""
    assert client.get().code == 0
    path = _cache_folder(client) / f"{name}.json"
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(b"\x00damaged")
    assert client.get().code == 0
    assert path.read_bytes() == whole


def test_row_29_cache_of_another_repository(client: Client, tmp_path: Path) -> None:
    """Metadata of another deployment in the cache's place is replaced: the run ends 0."""
    other = RepositorySimulator()
    other.add_file(WHEEL)
    other.publish()
    other.sign_timestamp(version=9)
    stranger = Client(other, other.location, tmp_path / "stranger")
    stranger.pin(other.deployment.roots[0])
    assert stranger.get().code == 0
    assert client.get().code == 0
    mine = _cache_folder(client)
    shutil.rmtree(mine)
    shutil.copytree(_cache_folder(stranger), mine, symlinks=True)
    outcome = client.get()
    assert outcome.code == 0, outcome.words


def test_row_29_unusable_cache_ends_70(client: Client) -> None:
    """A cache that cannot be written ends 70 and says which folder."""
    client.home.mkdir(exist_ok=True)
    (client.home / "cache").write_bytes(b"a file where a folder should be")
    outcome = client.get()
    assert outcome.code == 70
    assert str(client.home / "cache") in outcome.words


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_cache_of_another_user_is_refused(client: Client) -> None:
    """A cache folder that another user owns ends 70: its owner could take rollback protection away."""
    assert client.get().code == 0
    os.chown(_cache_folder(client).parent, 12345, -1)
    assert client.get().code == 70


def test_a_lock_is_waited_for_in_bounds(tmp_path: Path) -> None:
    """A repository that another process works on is waited for, not for ever."""
    location = parse_location("https://host/root/stable")
    root = sha256_of(b"root")
    hasty = Cache(tmp_path, patience=timedelta(seconds=0.1)).opened(location, root, print)
    with Cache(tmp_path).opened(location, root, print), pytest.raises(LocalState, match="another process"):
        hasty.__enter__()


def test_unwritable_destination_ends_70(client: Client) -> None:
    """A destination that is no folder ends 70."""
    client.home.mkdir(exist_ok=True)
    client.dest.write_bytes(b"a file")
    assert client.get().code == 70


def test_without_a_root_nothing_is_asked(sim: RepositorySimulator, tmp_path: Path) -> None:
    """Without a pinned root and without the flag the run ends 2 with the commands to run, before any request."""
    fresh = Client(sim, sim.location, tmp_path / "home")
    outcome = fresh.get()
    assert outcome.code == 2
    assert "countermark root fetch" in outcome.words
    assert "--trust-on-first-use" in outcome.words
    assert sim.requests == []


def test_first_use_is_remembered(sim: RepositorySimulator, tmp_path: Path) -> None:
    """First use trusts the newest root after walking the chain, and the next run needs no flag."""
    sim.deployment.sign_root()
    sim.publish()
    fresh = Client(sim, sim.location, tmp_path / "home", FIRST_USE)
    assert fresh.get().code == 0
    fresh.choice = RootChoice()
    assert fresh.get().code == 0
    pin = fresh.pins.find(sim.location.deployment)
    assert pin is not None
    assert (pin.origin, pin.root.version) == (PinOrigin.FIRST_USE, 2)


def test_all_indexes_of_a_deployment_share_the_pin(sim: RepositorySimulator, client: Client) -> None:
    """What is pinned for one index holds for its neighbours."""
    neighbour = RepositorySimulator("team/dev", sim.deployment)
    neighbour.add_file(WHEEL)
    neighbour.publish()
    assert Client(neighbour, neighbour.location, client.home).get().code == 0


def test_first_use_does_not_replace_a_root_elsewhere(sim: RepositorySimulator, tmp_path: Path) -> None:
    """On another machine a changed root stays a failure, also with the flag."""
    assert Client(sim, sim.location, tmp_path / "home", FIRST_USE).get().code == 0
    anew = RepositorySimulator()
    anew.add_file(WHEEL)
    anew.publish()
    assert Client(anew, anew.location, tmp_path / "home", FIRST_USE).get().code == 20


def test_a_localhost_repository_made_anew_is_reset_with_a_notice(tmp_path: Path) -> None:
    """On this machine first use may begin again, and the reset is told; without the flag it ends 20."""
    with serving() as server, Transport() as transport:
        outcomes: list[tuple[int, list[str]]] = []
        for _ in range(2):
            sim = RepositorySimulator()
            sim.add_file(WHEEL)
            sim.publish()
            location = parse_location(server.serve_index(sim))
            if outcomes:
                assert Client(transport, location, tmp_path / "home").get().code == 20
            made = Client(transport, location, tmp_path / "home", FIRST_USE)
            outcomes.append((made.get().code, list(made.notices)))
    assert [code for code, _ in outcomes] == [0, 0]
    told = " ".join(outcomes[1][1])
    assert "was forgotten" in told
    assert "cached metadata was reset" in told


def test_a_damaged_pin_ends_70(client: Client) -> None:
    """A pinned root that cannot be read is never passed over in silence."""
    (file,) = (client.home / "roots").iterdir()
    file.write_text("{}")
    assert client.get().code == 70
    client.choice = FIRST_USE
    assert client.get().code == 70


def test_roots_are_walked_and_checked() -> None:
    """The chain is followed to the newest; a version out of order or unsigned by its predecessor is refused."""
    sim = RepositorySimulator()
    sim.deployment.sign_root()
    sim.publish()
    assert [root.version for root in walk_roots(sim.location, sim)] == [1, 2]
    first = read_root(sim.deployment.roots[0])
    with pytest.raises(InvalidMetadata):
        read_root(sim.deployment.roots[0], first)
    foreign = Deployment()
    foreign.sign_root()
    with pytest.raises(BelowThreshold):
        read_root(foreign.roots[1], first)


def test_an_unreachable_threshold_is_refused(sim: RepositorySimulator) -> None:
    """A root that demands more keys than it lists is no root. Source: trust contract section 1.2."""
    root = Metadata[Root].from_bytes(sim.deployment.roots[0]).signed
    assert isinstance(root, Root)
    root.roles["timestamp"].threshold = 2
    with pytest.raises(InvalidMetadata, match="demands 2 keys for timestamp"):
        read_root(signed_bytes(root, sim.deployment.keys["root"]))


def test_a_key_under_two_ids_is_refused(sim: RepositorySimulator) -> None:
    """A root by which one holder would count twice is no root. Source: trust contract section 1.2."""
    root = Metadata[Root].from_bytes(sim.deployment.roots[0]).signed
    assert isinstance(root, Root)
    public = sim.deployment.keys["root"][0].public_key
    root.add_key(SSlibKey("f" * 64, public.keytype, public.scheme, public.keyval), "root")
    with pytest.raises(BelowThreshold, match="one key under two ids for root"):
        read_root(signed_bytes(root, sim.deployment.keys["root"]))


def test_a_key_in_two_spellings_is_refused(sim: RepositorySimulator) -> None:
    """The same key with its value in capitals, under the id of that, is no second key."""
    root = Metadata[Root].from_bytes(sim.deployment.roots[0]).signed
    assert isinstance(root, Root)
    public = sim.deployment.keys["root"][0].public_key
    spelled = {"public": public.keyval["public"].upper()}
    assert spelled != public.keyval
    root.add_key(SSlibKey("e" * 64, public.keytype, public.scheme, spelled), "root")
    with pytest.raises(BelowThreshold, match="one key under two ids for root"):
        read_root(signed_bytes(root, sim.deployment.keys["root"]))


def test_repository_keys_are_one_safe_segment() -> None:
    """A cache folder's name is readable, safe, and differs for each URL."""
    urls = ["https://host/root/stable", "https://host/root-stable", "file:///", "https://h/" + "x" * 300]
    keys = [repository_key(url) for url in urls]
    assert len(set(keys)) == len(urls)
    assert all(len(key) < 64 and "/" not in key and not key.startswith(".") for key in keys)
