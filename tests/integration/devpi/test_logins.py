"""Logging in over devpi's API: tokens, what ends them, and what the client is told then."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from gateway.accounts import NewToken
from gateway.dashboard.token_sweep import TokenSweep
from shared.auth.principal import Scope, Verb
from shared.auth.tokens import LOGIN_PREFIX
from shared.catalogue.tables import Account, Audit, Token
from shared.settings import Settings, Uploads
from tests.support.devpi_api import HOST, PASSWORD, DevpiUser, logged_in, told
from tests.support.gateway import Servers, TestGateway, open_gateway


async def _status(user: DevpiUser) -> Any:
    return (await user.result("/+api"))["authstatus"]


def _secret(user: DevpiUser) -> str:
    return base64.b64decode(user.http.headers["x-devpi-auth"]).decode().partition(":")[2]


async def test_a_login_gives_a_token_for_ten_hours(gateway: TestGateway) -> None:
    """An opaque text that the client never takes for a macaroon; kept as a digest; good everywhere for its user."""
    answer = await DevpiUser(gateway)("POST", "/+login", {"user": "alice", "password": PASSWORD})
    assert told(answer) == (200, "login successful")
    document = answer.json()
    assert document["type"] == "proxyauth"
    assert document["result"]["expiration"] == 36_000
    token = document["result"]["password"]
    assert token.startswith(LOGIN_PREFIX)
    assert token.isascii()
    alice = DevpiUser(gateway, "alice", token)
    assert await _status(alice) == ["ok", "alice", []]
    basic = "Basic " + base64.b64encode(f"alice:{token}".encode()).decode()
    plain = await DevpiUser(gateway).http.get("/+api", headers={"authorization": basic})
    assert plain.json()["result"]["authstatus"] == ["ok", "alice", []]
    gateway.clock.advance(timedelta(seconds=36_000))
    assert await _status(alice) == ["noauth", "", []]
    async with gateway.resources.engine.connect() as connection:
        row = (await connection.execute(select(Token.format_version, Token.secret_sha256, Token.label))).one()
        details = str(list(await connection.scalars(select(Audit.detail))))
    assert (row.format_version, row.label) == (2, "devpi login")
    assert token not in row.secret_sha256
    assert token not in details


async def test_a_token_is_its_users_alone(gateway: TestGateway) -> None:
    """With another name, as Bearer, or beside a wrong header of the client it is nobody's."""
    answer = await DevpiUser(gateway)("POST", "/+login", {"user": "alice", "password": PASSWORD})
    token = answer.json()["result"]["password"]
    for name in ("bob", "", "__token__"):
        assert await _status(DevpiUser(gateway, name, token)) == ["noauth", "", []]
    bearer = await DevpiUser(gateway).http.get("/+api", headers={"authorization": f"Bearer {token}"})
    assert bearer.json()["result"]["authstatus"][0] == "noauth"
    basic = "Basic " + base64.b64encode(f"alice:{token}".encode()).decode()
    wrong = await DevpiUser(gateway, "alice", "wrong").http.get("/+api", headers={"authorization": basic})
    assert wrong.json()["result"]["authstatus"][0] == "noauth"


async def test_wrong_credentials_are_nobodys(gateway: TestGateway) -> None:
    """No error by themselves: what is open stays open, in whatever way they are wrong."""
    http = DevpiUser(gateway).http
    for header in ("!!!", "", "YWxpY2U=", base64.b64encode(b"alice:\xff\xfe").decode(), "x" * 9000):
        answer = await http.get("/root/stable", headers={"x-devpi-auth": header})
        assert answer.status_code == 200, header
        status = await http.get("/+api", headers={"x-devpi-auth": header})
        assert status.json()["result"]["authstatus"] == ["noauth", "", []]


async def test_letters_of_latin_1_are_a_password(gateway: TestGateway) -> None:
    """The client's HTTP library writes them so; in UTF-8 they are the same password."""
    root = DevpiUser(gateway, "root")
    await root("PUT", "/dave", {"password": "schlüssel"})
    for codec in ("utf-8", "latin-1"):
        header = base64.b64encode("dave:schlüssel".encode(codec)).decode()
        answer = await DevpiUser(gateway).http.get("/+api", headers={"x-devpi-auth": header})
        assert answer.json()["result"]["authstatus"][0] == "ok", codec


@pytest.mark.parametrize(
    "body",
    [{}, {"user": "alice"}, {"password": "x"}, {"user": 1, "password": "x"}, {"user": "alice", "password": None}],
)
async def test_a_login_needs_both(gateway: TestGateway, body: Any) -> None:
    """400 in devpi's words."""
    answer = await DevpiUser(gateway)("POST", "/+login", body)
    assert told(answer) == (400, "Bad request: no user/password specified")


async def test_a_wrong_login_never_says_what_was_wrong(gateway: TestGateway) -> None:
    """An unknown user, a wrong password and a name that cannot be are 401 alike, without the sign of an ended login."""
    for user in ("alice", "nobody", "a\x01", "\udcff".encode("utf-8", "surrogatepass").decode("latin-1"), "x" * 5000):
        answer = await DevpiUser(gateway, address="192.0.2.7")("POST", "/+login", {"user": user, "password": "wrong"})
        assert answer.status_code == 401, user
        assert answer.json()["message"].endswith("could not be authenticated")
        assert answer.json()["message"].isascii()
        assert "location" not in answer.headers


async def test_tries_are_counted_across_gateways(gateway: TestGateway, other: TestGateway) -> None:
    """After as many as are allowed even the right password waits; another account does not, and a success resets."""
    for where in (gateway, other):
        await logged_in(where, "bob")
    for where in (gateway, other, gateway):
        assert (await DevpiUser(where)("POST", "/+login", {"user": "alice", "password": "x"})).status_code == 401
    right = {"user": "alice", "password": PASSWORD}
    for where in (gateway, other):
        refused = await DevpiUser(where)("POST", "/+login", right)
        assert refused.status_code == 429
        assert refused.json()["message"].startswith("Too many tries.")
        assert int(refused.headers["retry-after"]) > 0
    await logged_in(gateway, "bob")


async def test_a_new_password_ends_all_logins_but_the_one_that_set_it(gateway: TestGateway) -> None:
    """The others are told so that they log in again; API tokens are another matter and stay."""
    alice, elsewhere = await logged_in(gateway, "alice"), await logged_in(gateway, "alice")
    everything = Scope(None, None, frozenset(Verb))
    api = await gateway.accounts.create_token(NewToken("alice", (everything,), timedelta(days=1), "ci"))
    answer = await alice("PATCH", "/alice", {"password": "another"})
    assert told(answer) == (200, "user updated, new proxy auth")
    document = answer.json()
    assert (document["type"], document["result"]["expiration"]) == ("userpassword", 36_000)
    for good in (alice, DevpiUser(gateway, "alice", document["result"]["password"])):
        assert await _status(good) == ["ok", "alice", []]
    assert await _status(elsewhere) == ["noauth", "", []]
    for method, path in (("GET", "/alice"), ("GET", "/"), ("PATCH", "/alice"), ("GET", "/root/stable")):
        ended = await elsewhere(method, path, {})
        assert told(ended) == (401, "Your login has ended: log in again with devpi login.")
        assert ended.headers["location"] == "/+login"
    assert await _status(DevpiUser(gateway, "x", api.secret)) == ["ok", "alice", []]
    assert (await DevpiUser(gateway, "alice")("PATCH", "/alice", {"title": "x"})).status_code == 403
    await logged_in(gateway, "alice", "another")


async def test_the_other_ways_to_a_new_password_end_logins_too(gateway: TestGateway) -> None:
    """The operator's command and root's change end them all, and API tokens when the operator wants that."""
    alice = await logged_in(gateway, "alice")
    await (await logged_in(gateway, "root"))("PATCH", "/alice", {"password": "by root"})
    assert (await alice("GET", "/alice")).status_code == 401
    alice = await logged_in(gateway, "alice", "by root")
    everything = Scope(None, None, frozenset(Verb))
    api = await gateway.accounts.create_token(NewToken("alice", (everything,), timedelta(days=1), "ci"))
    # Two logins of root's own change, and hers.
    assert await gateway.accounts.set_password("alice", PASSWORD) == 2
    await gateway.resources.directory.refresh()
    assert (await alice("GET", "/alice")).status_code == 401
    assert await _status(DevpiUser(gateway, "x", api.secret)) == ["ok", "alice", []]
    assert await gateway.accounts.set_password("alice", PASSWORD, every_token=True) == 1


async def test_a_login_that_ran_out_is_told_so(gateway: TestGateway) -> None:
    """401 with the sign by which the client drops it; only the client itself is told, others read on as nobody."""
    alice = await logged_in(gateway, "alice")
    gateway.clock.advance(timedelta(seconds=36_001))
    ended = await alice("GET", "/root/stable")
    assert (ended.status_code, ended.headers["location"]) == (401, "/+login")
    basic = "Basic " + alice.http.headers["x-devpi-auth"]
    pip = await DevpiUser(gateway).http.get("/root/stable", headers={"authorization": basic})
    assert pip.status_code == 200


async def test_a_login_of_an_open_devpi_ends_with_it(open_devpi: TestGateway, servers: Servers) -> None:
    """Anybody could have made it, without a password: started again with passwords, the deployment takes it no more,
    and the client is told to log in again; another start as an open devpi takes it.
    """
    root = await logged_in(open_devpi, "root", "")
    changed = await root("PATCH", "/root", {"password": PASSWORD})
    secrets = [_secret(root), changed.json()["result"]["password"], _secret(await logged_in(open_devpi, "root"))]
    async with open_gateway(servers, Settings(data=servers.folder, uploads=Uploads(publish_wait=0))) as closed:
        for secret in secrets:
            refused = await DevpiUser(closed, "root", secret)("GET", "/root")
            assert (refused.status_code, refused.headers["location"]) == (401, "/+login")
        assert await _status(await logged_in(closed, "root")) == ["ok", "root", []]
    async with open_gateway(servers, open_devpi.resources.settings) as again:
        assert await _status(DevpiUser(again, "root", secrets[-1])) == ["ok", "root", []]
        ended = await again.accounts.set_password("root", PASSWORD)
        assert ended == len(secrets) + 1, "those of either kind end with a password"


async def test_old_logins_leave_no_rows(gateway: TestGateway) -> None:
    """A day after its end a login's row is swept; one that is good, or just ended, stays."""
    for _ in range(2):
        await logged_in(gateway, "alice")
    sweep = TokenSweep(gateway.resources.engine, gateway.clock)
    gateway.clock.advance(timedelta(hours=11))
    assert await sweep.sweep() == 0
    gateway.clock.advance(timedelta(days=1))
    assert await sweep.sweep() == 2
    async with gateway.resources.engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(Token)) == 0


async def test_status_says_nothing_of_paths(gateway: TestGateway) -> None:
    """The versions the client prints, the serial, and no folder of this machine."""
    answer = await DevpiUser(gateway)("GET", "/+status")
    result = answer.json()["result"]
    assert answer.json()["type"] == "status"
    assert result["versioninfo"]["devpi-server"] == "6.20.3"
    assert (result["role"], result["metrics"], result["polling_replicas"]) == ("MASTER", [], {})
    assert result["serial"] == int(answer.headers["x-devpi-serial"]) > 0
    assert "serverdir" not in result
    assert str(gateway.resources.settings.data) not in answer.text


async def test_the_serial_grows_with_every_change(gateway: TestGateway) -> None:
    """Each answer names the newest change it knows; a write at least its own."""
    alice = DevpiUser(gateway, "alice")
    seen = [int((await alice("GET", "/+api")).headers["x-devpi-serial"])]
    for number in range(3):
        answer = await alice("PUT", f"/alice/i{number}", {})
        seen += [int(answer.headers["x-devpi-serial"])]
    assert seen == sorted(set(seen))


async def test_the_outside_url_is_a_trusted_proxys_to_say(gateway: TestGateway) -> None:
    """A stranger's header changes nothing; nor does a foreign page's origin let it change anything."""
    http = DevpiUser(gateway).http
    lied = await http.get("/+api", headers={"x-outside-url": "https://evil.example"})
    assert lied.json()["result"]["login"] == f"{HOST}/+login"
    forged = await http.put("/alice/x", json={}, headers={"origin": "https://evil.example"})
    assert told(forged) == (403, "Pages of other sites may not change anything here.")


async def test_logins_without_a_password_end_with_the_open_devpi(gateway: TestGateway) -> None:
    """A token that an open devpi gave for no password is good for nothing once passwords count again."""
    answer = await DevpiUser(gateway)("POST", "/+login", {"user": "alice", "password": PASSWORD})
    alice = DevpiUser(gateway, "alice", answer.json()["result"]["password"])
    assert await _status(alice) == ["ok", "alice", []]
    async with gateway.resources.engine.begin() as connection:
        await connection.execute(update(Account).where(Account.name == "alice").values(password_hash=None))
    await gateway.resources.directory.refresh()
    assert await _status(alice) == ["noauth", "", []]
