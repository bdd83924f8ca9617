"""Mirrors: other addresses of the same index, asked one after the other, of which nothing is believed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import SlowRetrievalError
from typer.testing import Result

from countermark.core.errors import ClientError, Expired, NetworkFailure, UsageFault, WrongDigest
from countermark.credentials import Secrets, find_credentials
from countermark.location import parse_location
from countermark.mirrors import FILE, MOST_MIRRORS, Address, MirroredSource, first_good, read_mirrors
from countermark.settings import read_settings
from countermark.transport import Limits
from tests.support.simulator import RepositorySimulator, soon
from tests.unit.client.conftest import WHEEL, WHEEL_TARGET, Run
from tests.unit.client.loopback import Loopback, reply, serving

TIMESTAMP = "/root/stable/+tuf/metadata/timestamp.json"
NOWHERE = "http://127.0.0.1:9/root/stable"


class Scene:
    """A repository on a server, a good mirror as a folder, and a client that starts from the right root."""

    def __init__(self, run: Run, server: Loopback, sim: RepositorySimulator, folder: Path) -> None:
        self.server, self.sim, self._run, self._folder = server, sim, run, folder
        self.dest = folder / "dest"
        self.url = server.serve_index(sim)
        self.mirror = sim.write_tree(folder / "mirror")
        self.root = folder / "root.json"
        self.root.write_bytes(sim.deployment.roots[0])

    def path(self, key: str) -> str:
        """Return the path under which the repository serves an object of the simulator."""
        return f"/root/stable/+tuf/{key.removeprefix('indexes/root/stable/')}"

    def republish(self) -> None:
        """Publish once more, to the server alone."""
        self.sim.publish()
        self.server.serve_index(self.sim)

    def get(
        self, *mirrors: str | Path, repository: str | None = None, base: str | None = None, **environment: str
    ) -> Result:
        """Download the wheel, all mirrors given by options."""
        named = [word for mirror in mirrors for word in ("--mirror", mirror)] + (["--base", base] if base else [])
        where = ("--repository", repository or self.url, "--root", self.root, "--dest", self.dest)
        return self._run("download", "widget==1.10", *where, *named, **environment)

    def placed(self) -> bytes:
        """Return the bytes of the wheel that was placed, and take it away."""
        data = (self.dest / WHEEL).read_bytes()
        (self.dest / WHEEL).unlink()
        return data

    def warm_up(self) -> None:
        """Have the client see the newest metadata."""
        done = self.get()
        assert done.exit_code == 0, done.stderr
        self.placed()


@pytest.fixture
def scene(run: Run, server: Loopback, sim: RepositorySimulator, tmp_path: Path) -> Scene:
    """All is well at both addresses."""
    return Scene(run, server, sim, tmp_path)


def _expired(scene: Scene) -> None:
    scene.sim.expires["timestamp"] = soon(hours=-1)
    scene.sim.sign_timestamp(version=1)
    scene.server.serve_index(scene.sim)


def _rolled_back(scene: Scene) -> None:
    old = scene.server.paths[TIMESTAMP]
    scene.republish()
    scene.sim.write_tree(scene.mirror.parents[2])
    scene.warm_up()
    scene.server.paths[TIMESTAMP] = old


def _signed_by_another(scene: Scene) -> None:
    scene.sim.deployment.keys["timestamp"] = [CryptoSigner.generate_ed25519()]
    scene.republish()


def _no_metadata(scene: Scene) -> None:
    scene.server.paths[TIMESTAMP] = b"{}"


def _mixed(scene: Scene) -> None:
    scene.server.paths[scene.path(scene.sim.bin_key(WHEEL_TARGET))] = b"{}"


def _half_copied(scene: Scene) -> None:
    del scene.server.paths[scene.path(scene.sim.bin_key(WHEEL_TARGET))]


def _silent(scene: Scene) -> None:
    scene.server.paths = {path: data for path, data in scene.server.paths.items() if "+tuf" not in path}


def _another_index(scene: Scene) -> None:
    other = RepositorySimulator("root/mallory", scene.sim.deployment)
    other.add_file(WHEEL, b"an evil wheel\n")
    other.publish()
    for key, data in other.objects.items():
        scene.server.paths[f"/root/stable/+tuf/{key.removeprefix('indexes/root/mallory/')}"] = data


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_silent, 10),
        (_half_copied, 10),
        (_signed_by_another, 20),
        (_expired, 21),
        (_rolled_back, 22),
        (_no_metadata, 23),
        (_mixed, 23),
        (_another_index, 31),
    ],
)
def test_the_next_address_is_asked_after_bad_metadata(scene: Scene, spoil: Callable[[Scene], None], code: int) -> None:
    """What ends a run with one address has the next one asked, which is told in one line."""
    spoil(scene)
    assert scene.get().exit_code == code
    done = scene.get(scene.mirror)
    assert done.exit_code == 0, done.stderr
    assert scene.placed() == b"the real wheel\n"
    (told,) = [line for line in done.stderr.splitlines() if " failed: " in line]
    assert scene.url in told
    assert f"[{code}]" in told
    assert f"asking {parse_location(str(scene.mirror)).url}" in told


def test_a_repository_that_is_well_is_asked_alone(scene: Scene, sim: RepositorySimulator) -> None:
    """Mirrors see nothing while the repository answers."""
    with serving() as other:
        done = scene.get(other.serve_tree(sim))
        assert done.exit_code == 0, done.stderr
        assert not other.seen


@pytest.mark.parametrize(("data", "code"), [(b"other bytes!!!\n", 41), (b"short", 40), (None, 10)])
def test_the_file_comes_from_the_next_address(scene: Scene, data: bytes | None, code: int) -> None:
    """A file that is altered, cut or gone is read anew elsewhere, whole."""
    path = scene.path(scene.sim.pointers[WHEEL].file.uri.lstrip("/"))
    if data is None:
        del scene.server.paths[path]
    else:
        scene.server.paths[path] = data
    assert scene.get().exit_code == code
    assert not list(scene.dest.iterdir())
    done = scene.get(scene.mirror)
    assert done.exit_code == 0, done.stderr
    assert f"[{code}]; asking" in done.stderr
    assert scene.placed() == b"the real wheel\n"


def test_the_attestation_comes_from_the_next_address(scene: Scene) -> None:
    """Altered bytes of an attestation (50) are read elsewhere; what the right bytes say (51) is final."""
    pointer = scene.sim.add_file(WHEEL, b"the real wheel\n", attestation=b"no bundle")
    scene.sim.deployment.trust_targets.clear()
    scene.republish()
    scene.sim.write_tree(scene.mirror.parents[2])
    assert pointer.attestation is not None
    honest = scene.get().exit_code
    assert honest >= 51
    scene.server.paths[scene.path(pointer.attestation.uri.lstrip("/"))] = b"no bundl3"
    assert scene.get().exit_code == 50
    done = scene.get(scene.mirror)
    assert done.exit_code == honest
    assert done.stderr.count("; asking ") == 1


def test_the_first_that_was_reached_is_told_when_all_fail(scene: Scene) -> None:
    """The error is that of the first that answered, with words about the others; nothing is placed."""
    _expired(scene)
    done = scene.get(scene.url, repository=NOWHERE, base="none")
    assert done.exit_code == 21
    assert "the other addresses failed too" in done.stderr
    assert NOWHERE in done.stderr
    assert "is a mirror: tell the people who run it" in done.stderr
    assert not scene.dest.exists()
    assert scene.get(NOWHERE).exit_code == 21


def test_rollback_detection_carries_over(scene: Scene) -> None:
    """What a mirror showed is remembered for the repository: one cache, whichever address was read."""
    old = dict(scene.server.paths)
    scene.republish()
    tree = scene.sim.write_tree(scene.mirror.parents[2])
    _silent(scene)
    assert scene.get(tree).exit_code == 0
    scene.server.paths = old
    assert scene.get().exit_code == 22


def test_a_mirror_that_is_merely_behind_is_not_told_from_the_registry(scene: Scene) -> None:
    """An older state that has not expired is taken by who never saw a newer one, and refused by who did."""
    scene.republish()
    newer = dict(scene.server.paths)
    _silent(scene)
    assert scene.get(scene.mirror).exit_code == 0
    scene.placed()
    scene.server.paths = newer
    scene.warm_up()
    _silent(scene)
    assert scene.get(scene.mirror).exit_code == 22


def test_bases_are_not_learnt_from_mirrors(scene: Scene) -> None:
    """Where no bases are recorded and the repository says none, they have to be named: a mirror is not asked."""
    scene.server.paths.clear()
    done = scene.get(scene.mirror)
    assert (done.exit_code, "--base" in done.stderr) == (10, True)
    assert scene.get(scene.mirror, base="none").exit_code == 0


def test_mirrors_of_the_environment(scene: Scene) -> None:
    """COUNTERMARK_MIRRORS counts without --mirror, for the repository of the environment."""
    _silent(scene)
    good = parse_location(str(scene.mirror)).url
    assert scene.get(COUNTERMARK_MIRRORS=f"{NOWHERE} {good}").exit_code == 0
    scene.placed()
    assert scene.get(COUNTERMARK_MIRRORS=good, COUNTERMARK_REPOSITORY=NOWHERE).exit_code == 10
    settings = read_settings({"COUNTERMARK_MIRRORS": "https://b/x/y  https://c/x/y"})
    assert settings.mirrors_of(parse_location("https://a/x/y"), ()) == ("https://b/x/y", "https://c/x/y")
    assert settings.mirrors_of(parse_location("https://a/x/y"), ("https://d/x/y",)) == ("https://d/x/y",)


def test_credentials_stay_with_their_origin(scene: Scene, sim: RepositorySimulator) -> None:
    """The token goes to the repository alone; what stands in a mirror's URL goes to that mirror alone."""
    path = scene.path(scene.sim.pointers[WHEEL].file.uri.lstrip("/"))
    del scene.server.paths[path]
    scene.server.paths[TIMESTAMP] = b"{}"
    with serving() as other:
        mirror = other.serve_tree(sim).replace("http://", "http://ada:secret@")
        done = scene.get(mirror, COUNTERMARK_TOKEN="cmk_1abc")
        assert done.exit_code == 0, done.stderr
        assert {headers.get("authorization") for _, headers in scene.server.seen} == {"Bearer cmk_1abc"}
        assert {headers.get("authorization") for _, headers in other.seen} == {"Basic YWRhOnNlY3JldA=="}
        scene.placed()
        other.seen.clear()
        assert scene.get(mirror.replace("ada:secret@", ""), COUNTERMARK_TOKEN="cmk_1abc").exit_code == 0
        assert {headers.get("authorization") for _, headers in other.seen} == {None}
        assert "secret" not in done.stderr


def test_what_is_no_mirror_is_refused(scene: Scene, run: Run) -> None:
    """A mirror is of the same index; there are few; offline there is none."""
    done = scene.get("https://mirror.example/root/other")
    assert (done.exit_code, "root/other" in done.stderr) == (2, True)
    assert scene.get(*(f"https://m{number}.example/root/stable" for number in range(MOST_MIRRORS + 1))).exit_code == 2
    wheel = ("verify", WHEEL, "--repository", scene.url, "--offline", "--mirror", scene.mirror)
    assert run(*wheel).exit_code == 2
    home = parse_location("https://host/root/stable")
    same = ["https://host/root/stable/", "https://b/indexes/root/stable", "https://b/indexes/root/stable/simple/"]
    found = read_mirrors(same, home, lambda url: find_credentials(url, Secrets(), lambda _: None))
    assert [each.location.url for each in found] == ["https://b/indexes/root/stable"]
    with pytest.raises(UsageFault):
        read_mirrors(["ftp://b/root/stable"], home, lambda _: None)


def test_a_slow_address_leaves_time_for_the_next(scene: Scene, sim: RepositorySimulator) -> None:
    """The time for metadata is divided: an address that says nothing uses up its own share, once."""
    over = threading.Event()

    def say_nothing(handler: BaseHTTPRequestHandler) -> None:
        over.wait(10)
        reply(handler, 404)

    with serving() as other:
        addresses = [Address(parse_location(url)) for url in (scene.url, other.serve_tree(sim))]
        scene.server.paths[TIMESTAMP] = say_nothing
        slow, good = (f"{each.location.metadata_url}/timestamp.json" for each in addresses)
        with MirroredSource(addresses, Limits(metadata_total=timedelta(seconds=0.4))) as source:
            with pytest.raises(SlowRetrievalError):
                source.download_bytes(slow, 1000)
            before = len(scene.server.seen)
            with pytest.raises(SlowRetrievalError):
                source.download_bytes(slow, 1000)
            assert len(scene.server.seen) == before
            assert source.download_bytes(good, 10_000) == sim.objects[sim.key("metadata/timestamp.json")]
            uri = sim.pointers[WHEEL].file.uri
            home = addresses[0].location
            assert b"".join(source.stream(home.artifact_url(uri), 15)) == b"the real wheel\n", (
                "files have their own time"
            )
        over.set()


def test_bases_are_read_beside_the_mirror(scene: Scene, sim: RepositorySimulator, run: Run, tmp_path: Path) -> None:
    """A base that fails at the repository is read beside the mirror, as the same index."""
    base = RepositorySimulator("root/tools", sim.deployment)
    base.add_file("gizmo-1.0-py3-none-any.whl", b"the gizmo\n")
    base.publish()
    base.write_tree(scene.mirror.parents[2])
    where = ("--repository", scene.url, "--root", scene.root, "--dest", scene.dest, "--base", "root/tools")
    assert run("download", "gizmo", *where).exit_code == 10
    done = run("download", "gizmo", *where, "--mirror", scene.mirror)
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("; asking ") == 1


def test_verify_goes_on_too(scene: Scene, run: Run, tmp_path: Path) -> None:
    """`verify` reads metadata from the mirror when the repository's does not hold."""
    _no_metadata(scene)
    wheel = tmp_path / WHEEL
    wheel.write_bytes(b"the real wheel\n")
    where = ("--repository", scene.url, "--root", scene.root)
    assert run("verify", wheel, *where).exit_code == 23
    assert run("verify", wheel, *where, "--mirror", scene.mirror).exit_code == 0


def test_probe_looks_at_each_address(scene: Scene, run: Run) -> None:
    """A mirror that fell behind what this machine saw makes the probe end with 1, whatever the others say."""
    where = ("probe", scene.url, "--root", scene.root)
    done = run(*where, "--mirror", scene.mirror)
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count(" is well") + done.stdout.count(" is well") == 2
    scene.republish()
    done = run(*where, "--mirror", scene.mirror)
    assert done.exit_code == 1
    assert f"{parse_location(str(scene.mirror)).url} failed: " in done.stderr


def test_other_failures_end_it_at_once() -> None:
    """Only what another address can mend is passed on, and one address alone keeps its error."""
    places = [parse_location(f"https://{host}/root/stable") for host in "abc"]
    asked: list[str] = []

    def failing(errors: Iterator[ClientError]) -> Callable[[object], None]:
        def fail(place: object) -> None:
            asked.append(str(place))
            raise next(errors)

        return fail

    with pytest.raises(Expired):
        first_good(places, failing(iter([NetworkFailure("no"), Expired("old")])), FILE, lambda _: None)
    assert len(asked) == 2
    alone = WrongDigest("other")
    with pytest.raises(WrongDigest) as raised:
        first_good(places[:1], failing(iter([alone])), FILE, lambda _: None)
    assert raised.value is alone
