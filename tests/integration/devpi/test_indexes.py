"""Indexes over devpi's API: each row of contract devpi sections 4.1, 4.3, 6, 8 and 23, with its words."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import func, select, update

from countermark.core.names import IndexName
from gateway.accounts import NewIndex
from shared.auth.principal import Verb
from shared.catalogue.tables import IndexRow, Project
from shared.reading.resolution import MOST_MEMBERS
from tests.support.devpi_api import HOST, DevpiUser, told
from tests.support.factories import MadeIndex, make_file
from tests.support.gateway import TestGateway

STAGE = {
    "type": "stage",
    "volatile": True,
    "bases": [],
    "acl_upload": ["alice"],
    "acl_toxresult_upload": [":AUTHENTICATED:"],
    "mirror_whitelist": [],
    "mirror_whitelist_inheritance": "intersection",
}


async def test_an_index_begins_with_devpis_defaults(gateway: TestGateway) -> None:
    """200 and not 201; strict admission; the owner uploads, everyone reads."""
    alice = DevpiUser(gateway, "alice")
    made = await alice("PUT", "/alice/dev", {})
    assert (made.status_code, made.json()) == (200, {"type": "indexconfig", "result": STAGE})
    shown = await DevpiUser(gateway).result("/alice/dev")
    assert shown == {**STAGE, "projects": []}
    assert await DevpiUser(gateway).result("/alice/dev?no_projects=") == STAGE
    async with gateway.resources.engine.connect() as connection:
        query = select(IndexRow.admission, IndexRow.visibility).where(IndexRow.name == "dev")
        assert tuple((await connection.execute(query)).one()) == ("strict", "public")
    mirror = await alice("PUT", "/alice/m", {"type": "mirror", "mirror_url": "https://x.example/simple/"})
    assert mirror.json()["result"] == {"type": "mirror", "volatile": True, "mirror_url": "https://x.example/simple/"}


async def test_the_checks_of_a_new_index_have_their_order(gateway: TestGateway) -> None:
    """User missing, index there, no right, bad JSON, bad name, bad value: the first that fails is told."""
    alice, bob, nobody = DevpiUser(gateway, "alice"), DevpiUser(gateway, "bob"), DevpiUser(gateway)
    await alice("PUT", "/alice/dev", {})
    for who in (alice, bob, nobody):
        assert told(await who("PUT", "/none/dev", {})) == (404, "no user 'none'")
        assert told(await who.http.put("/alice/dev", content=b"{")) == (409, "index 'alice/dev' exists")
    for stranger in (bob, nobody):
        refused = await stranger.http.put("/alice/new", content=b"{")
        assert told(refused) == (403, "no permission to create index alice/new")
    assert told(await alice.http.put("/alice/new", content=b"{"))[0] == 400
    bad = await alice.http.put("/alice/n!w", json={"volatile": "maybe"})
    words = "indexname 'n!w' contains characters that aren't allowed. Any ascii symbol besides -.@_ is blocked."
    assert told(bad) == (400, words)
    assert told(await alice("PUT", "/alice/new", {"volatile": "maybe"})) == (400, "Unknown boolean value 'maybe'.")
    assert (await DevpiUser(gateway, "root")("PUT", "/alice/new", {})).status_code == 200
    hidden = await DevpiUser(gateway, "carol")("PUT", "/alice/shut", {})
    assert told(hidden) == (403, "no permission to create index alice/shut")


NO_ACCOUNT = (
    "acl_upload: ':ANONYMOUS:' cannot upload here, since uploads need an account: ':AUTHENTICATED:' is everybody who "
    "has one (a server started with --compat devpi-open takes both)"
)

_VALUES: list[tuple[dict[str, Any], dict[str, Any] | str]] = [
    ({"volatile": "False"}, {"volatile": False}),
    ({"volatile": "yes"}, {"volatile": True}),
    ({"volatile": 0}, "Unknown boolean value '0'."),
    ({"acl_upload": " alice, bob,,"}, {"acl_upload": ["alice", "bob"]}),
    ({"acl_upload": ""}, {"acl_upload": []}),
    ({"acl_upload": "bob,:group,:Authenticated:"}, {"acl_upload": ["bob", ":group", ":AUTHENTICATED:"]}),
    ({"acl_upload": "bob,:Anonymous:"}, NO_ACCOUNT),
    ({"acl_upload": 5}, "Unknown list value 5."),
    ({"acl_upload": ["a b"]}, "'a b' names no user and no :group"),
    ({"acl_toxresult_upload": [":anonymous:"]}, {"acl_toxresult_upload": [":ANONYMOUS:"]}),
    ({"bases": "/root/stable/"}, {"bases": ["root/stable"]}),
    ({"bases": ["x", "no/where"]}, "invalid base index spec: 'x', base index 'no/where' does not exist"),
    ({"mirror_whitelist": "Hello.Pkg,*"}, {"mirror_whitelist": ["hello-pkg", "*"]}),
    ({"mirror_whitelist_inheritance": "UNION"}, {"mirror_whitelist_inheritance": "union"}),
    (
        {"mirror_whitelist_inheritance": "x"},
        "Unknown value 'x' for mirror_whitelist_inheritance, must be 'intersection' or 'union'.",
    ),
    ({"type": "strange"}, "unknown index type 'strange'"),
    ({"k": "v"}, "indexconfig got unexpected keyword arguments: k=v"),
    ({"title": "T", "description": "d\nd", "custom_data": {"a": 1}}, {"title": "T", "custom_data": {"a": 1}}),
    ({"mirror_url": "https://x/"}, "indexconfig got unexpected keyword arguments: mirror_url=https://x/"),
    ({"type": "mirror", "mirror_url": "ftp://x"}, "'mirror_url' option must be a URL."),
    (
        {"type": "mirror", "mirror_url": "https://u:secret@x/"},
        "'mirror_url' option must not hold a user or password.",
    ),
    ({"type": "mirror", "mirror_cache_expiry": "x"}, "'mirror_cache_expiry' option must be an integer"),
    ({"type": "mirror", "mirror_cache_expiry": "60"}, {"mirror_cache_expiry": 60}),
    ({"type": "mirror", "bases": "no/where", "acl_upload": "x", "mirror_whitelist": "y"}, {"type": "mirror"}),
    ({"type": "mirror", "mirror_no_project_list": "true"}, {"mirror_no_project_list": True}),
]


async def test_every_option_is_read_as_devpi_reads_it(gateway: TestGateway) -> None:
    """What is taken is shown in its one form; what is not taken makes no index."""
    alice = DevpiUser(gateway, "alice")
    for number, (given, expected) in enumerate(_VALUES):
        answer = await alice("PUT", f"/alice/i{number}", given)
        if isinstance(expected, str):
            assert told(answer) == (400, expected), given
            assert (await alice("GET", f"/alice/i{number}")).status_code == 404
        else:
            assert answer.status_code == 200, answer.text
            result = await alice.result(f"/alice/i{number}?no_projects=")
            assert {**result, **expected} == result, given


async def test_a_change_by_a_document(gateway: TestGateway) -> None:
    """Only what is given changes; an answer may be sent back; the type stays."""
    alice = DevpiUser(gateway, "alice")
    await alice("PUT", "/alice/dev", {"title": "T"})
    changed = await alice("PATCH", "/alice/dev", {"acl_upload": "bob,alice", "projects": ["x"]})
    assert changed.json() == {"type": "indexconfig", "result": STAGE | {"title": "T", "acl_upload": ["bob", "alice"]}}
    answer = (await alice("GET", "/alice/dev")).json()
    assert (await alice("PATCH", "/alice/dev", answer)).json()["result"] == changed.json()["result"]
    same = await alice("PATCH", "/alice/dev", {"type": "mirror"})
    assert told(same) == (400, "the 'type' of an index can't be changed")
    noop = await alice("PATCH", "/alice/dev?error_on_noop=", changed.json()["result"])
    assert told(noop) == (400, "The requested modifications resulted in no changes")
    assert told(await alice("PATCH", "/alice/dev", "text"))[0] == 400


async def test_a_change_by_operations(gateway: TestGateway) -> None:
    """In order, then checked as a whole; what cannot be done changes nothing."""
    alice = DevpiUser(gateway, "alice")
    await alice("PUT", "/alice/dev", {"title": "T"})
    operations = ["acl_upload+=bob", "acl_upload+=bob", "acl_upload-=alice", "description=a=b", "title-=", "nothing-="]
    changed = await alice("PATCH", "/alice/dev", operations)
    assert changed.json()["result"] == STAGE | {"acl_upload": ["bob"], "description": "a=b"}
    refused = {
        "acl_upload-=alice": "The 'acl_upload' setting doesn't have value 'alice'",
        "volatile-=": "Default values can't be removed.",
        "description+=x": "The 'description' setting is no list: set it with description=VALUE",
        "unknown-=x": "The 'unknown' setting is no list: set it with unknown=VALUE",
        "unknown=x": "indexconfig got unexpected keyword arguments: unknown=x",
        "type-=": "the 'type' of an index can't be changed",
        "bases+=no/where": "base index 'no/where' does not exist",
    }
    for operation, words in refused.items():
        answer = await alice("PATCH", "/alice/dev", ["title=changed", operation])
        assert told(answer) == (400, words)
    assert (await alice("PATCH", "/alice/dev", [3])).status_code == 400
    assert (await alice("PATCH", "/alice/dev", ["volatile="])).status_code == 400
    assert await alice.result("/alice/dev?no_projects=") == changed.json()["result"]
    noop = await alice("PATCH", "/alice/dev?error_on_noop=", ["acl_upload+=bob"])
    assert told(noop) == (400, "The requested modifications resulted in no changes")


async def test_operations_look_at_bases_again(gateway: TestGateway) -> None:
    """Once a base was deleted a list of operations fails, and a document that leaves bases alone does not."""
    alice = DevpiUser(gateway, "alice")
    await alice("PUT", "/alice/a", {})
    await alice("PUT", "/alice/b", {"bases": "alice/a,alice/b"})
    await alice("PATCH", "/alice/a", {"bases": ["alice/b"]})
    assert (await alice.result("/alice/b"))["bases"] == ["alice/a", "alice/b"]
    assert (await alice("DELETE", "/alice/a")).status_code == 201
    assert (await alice.result("/alice/b"))["bases"] == ["alice/a", "alice/b"]
    failed = await alice("PATCH", "/alice/b", ["title=x"])
    assert told(failed) == (400, "base index 'alice/a' does not exist")
    assert (await alice("PATCH", "/alice/b", {"title": "x"})).status_code == 200


async def test_a_base_must_be_readable_and_public(gateway: TestGateway) -> None:
    """A private index is none of a stranger's bases, and of nobody's public index; a private one may have it."""
    for who in ("bob", "carol"):
        await DevpiUser(gateway, who)("PUT", f"/{who}/dev", {})
    stranger = await DevpiUser(gateway, "carol")("PATCH", "/carol/dev", {"bases": "alice/shut"})
    assert told(stranger) == (400, "base index 'alice/shut' does not exist")
    reader = await DevpiUser(gateway, "bob")("PATCH", "/bob/dev", {"bases": "alice/shut"})
    assert told(reader) == (400, "base index 'alice/shut' is private, and everyone may read bob/dev")
    await gateway.accounts.create_index(NewIndex(IndexName("bob", "own"), "private"))
    own = await DevpiUser(gateway, "bob")("PATCH", "/bob/own", {"bases": "alice/shut,bob/dev"})
    assert own.json()["result"]["bases"] == ["alice/shut", "bob/dev"]
    opened = await DevpiUser(gateway, "bob")("PATCH", "/bob/own", {"acl_upload": ":anonymous:"})
    assert told(opened) == (400, "bob/own is private: :ANONYMOUS: can have no rights on it")


async def test_hostile_documents_change_nothing(gateway: TestGateway) -> None:
    """Ten thousand bases, lists without end, names with null characters: 400 in one sentence."""
    alice = DevpiUser(gateway, "alice")
    await alice("PUT", "/alice/dev", {})
    many = [f"alice/i{number}" for number in range(10_000)]
    for bases in (many, ",".join(many)):
        answer = await alice("PATCH", "/alice/dev", {"bases": bases})
        assert told(answer) == (400, f"an index has at most {MOST_MEMBERS} bases, and 10000 are given")
    bad: list[dict[str, Any]] = [
        {"acl_upload": [f"u{number}" for number in range(501)]},
        {"acl_upload": ["a\0"]},
        {"bases": ["a\0/b"]},
        {"mirror_whitelist": ["x\0"]},
        {"title": "\0"},
        {"title": 1e300},
        {"custom_data": [[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]},
        {"\0": "x"},
        {f"k{number}": "v" for number in range(1000)},
        {"volatile": {}},
        {"bases": [1]},
        {"mirror_whitelist_inheritance": None},
    ]
    for given in bad:
        answer = await alice("PATCH", "/alice/dev", given)
        assert answer.status_code == 400, given
        assert len(answer.json()["message"]) < 2000
    assert (await alice("PATCH", "/alice/dev", ["title=x"] * 1001)).status_code == 400
    assert await alice.result("/alice/dev?no_projects=") == STAGE


async def test_lists_of_rights_are_rows_of_the_grant_table(gateway: TestGateway) -> None:
    """Who may upload may remove; the owner and root always may; what the rights page gave stays and is shown."""
    alice, root = DevpiUser(gateway, "alice"), DevpiUser(gateway, "root")
    await alice("PUT", "/alice/dev", {"acl_upload": "carol,bob"})

    def verbs(subject: str) -> set[str]:
        record = gateway.resources.directory.index(IndexName("alice", "dev"))
        assert record is not None
        return {grant.verb.value for grant in record.grants if grant.subject == subject}

    assert verbs("bob") == verbs("carol") == {"upload", "remove"}
    assert verbs("alice") == {"read", "remove", "approve", "configure"}
    assert verbs("root") == {"remove", "configure"}
    assert verbs(":ANONYMOUS:") == {"read"}
    await alice("PATCH", "/alice/dev", ["acl_upload-=carol", "acl_upload+=alice"])
    assert (verbs("carol"), verbs("alice")) == (set(), {"read", "remove", "approve", "configure", "upload"})
    await gateway.rights.set_grants(IndexName("alice", "dev"), "carol", [Verb.UPLOAD, Verb.READ])
    assert (await alice.result("/alice/dev"))["acl_upload"] == ["bob", "alice", "carol"]
    await root("PATCH", "/alice/dev", {"acl_upload": [":AUTHENTICATED:"]})
    assert (verbs("bob"), verbs("carol")) == (set(), {"read"})
    assert verbs("alice") == {"read", "remove", "approve", "configure"}


async def test_who_may_configure_an_index(gateway: TestGateway) -> None:
    """The owner and root; anybody else is 403, also for an index that is not there, whoever asks."""
    await DevpiUser(gateway, "alice")("PUT", "/alice/dev", {})
    for who in (DevpiUser(gateway), DevpiUser(gateway, "bob"), DevpiUser(gateway, "alice", "wrong")):
        for method in ("PATCH", "DELETE"):
            refused = await who(method, "/alice/dev", {})
            assert told(refused) == (403, "no permission to modify index alice/dev")
    for known in ("alice", "root"):
        for method in ("PATCH", "DELETE"):
            missing = await DevpiUser(gateway, known)(method, "/alice/none", {})
            assert told(missing) == (403, "no permission to modify index alice/none")
    assert (await DevpiUser(gateway, "root")("PATCH", "/alice/shut", {"title": "x"})).status_code == 403
    assert (await DevpiUser(gateway, "root")("DELETE", "/alice/dev")).status_code == 201


async def test_only_volatile_indexes_are_deleted(gateway: TestGateway) -> None:
    """403 for the others, and for the default index however it is set."""
    alice, root = DevpiUser(gateway, "alice"), DevpiUser(gateway, "root")
    await alice("PUT", "/alice/prod", {"volatile": False})
    assert told(await alice("DELETE", "/alice/prod")) == (403, "index alice/prod non-volatile, cannot delete")
    await root("PATCH", "/root/stable", ["volatile=true"])
    assert told(await root("DELETE", "/root/stable")) == (403, "index root/stable is the default index, cannot delete")
    await alice("PATCH", "/alice/prod", ["volatile=yes"])
    assert told(await alice("DELETE", "/alice/prod")) == (201, "index alice/prod deleted")
    assert told(await alice("GET", "/alice/prod")) == (404, "The stage alice/prod could not be found.")
    assert told(await alice("GET", "/alice/prod/+api")) == (404, "The stage alice/prod could not be found.")


async def test_projects_are_the_indexs_own_living_ones(gateway: TestGateway) -> None:
    """Sorted, of this index alone, without those that were removed; in parts when there are many."""
    engine = gateway.resources.engine
    alice = DevpiUser(gateway, "alice")
    await alice("PUT", "/alice/base", {})
    await alice("PUT", "/alice/dev", {"bases": "alice/base"})
    made = {}
    for name in ("base", "dev"):
        record = gateway.resources.directory.index(IndexName("alice", name))
        assert record is not None
        made[name] = MadeIndex(record.id, record.name, record.public)
    await make_file(engine, made["base"], "other-1.0.tar.gz")
    for name in ("zebra", "Alpha_b", "beta"):
        await make_file(engine, made["dev"], f"{name}-1.0.tar.gz", name.encode())
    assert (await alice.result("/alice/dev"))["projects"] == ["alpha-b", "beta", "zebra"]
    async with engine.begin() as connection:
        gone = update(Project).where(Project.name == "beta")
        await connection.execute(gone.values(removed_at=func.now()))
    assert (await alice.result("/alice/dev"))["projects"] == ["alpha-b", "zebra"]


async def test_discovery_of_an_index(gateway: TestGateway) -> None:
    """Addresses with and without their slash; no upload address of a mirror; 403 of what one may not read."""
    await DevpiUser(gateway, "alice")("PUT", "/alice/m", {"type": "mirror"})
    stage = await DevpiUser(gateway).result("/root/stable/+api")
    assert stage == {
        "login": f"{HOST}/+login",
        "authstatus": ["noauth", "", []],
        "features": ["push-no-docs", "push-only-docs", "push-register-project", "server-keyvalue-parsing"],
        "index": f"{HOST}/root/stable",
        "simpleindex": f"{HOST}/root/stable/+simple/",
        "pypisubmit": f"{HOST}/root/stable/",
    }
    mirror = await DevpiUser(gateway, "alice").result("/alice/m/+api")
    assert "pypisubmit" not in mirror
    assert mirror["authstatus"] == ["ok", "alice", []]
    for who in (None, "carol"):
        assert (await DevpiUser(gateway, who)("GET", "/alice/shut/+api")).status_code == 403
    assert (await DevpiUser(gateway, "bob").result("/alice/shut/+api"))["index"] == f"{HOST}/alice/shut"
    for path in ("/+api", "/alice/+api", "/nobody/+api"):
        assert (await DevpiUser(gateway).result(path)).keys() == {"login", "authstatus", "features"}
    assert (await DevpiUser(gateway).http.get("/+api/")).status_code == 404


async def test_a_private_index_is_for_its_readers(gateway: TestGateway) -> None:
    """401 with a challenge for nobody, 403 for a stranger, the document for a reader."""
    nobody = await DevpiUser(gateway)("GET", "/alice/shut")
    assert nobody.status_code == 401
    assert nobody.headers["www-authenticate"].startswith("Basic ")
    assert "location" not in nobody.headers
    assert (await DevpiUser(gateway, "carol")("GET", "/alice/shut")).status_code == 403
    assert (await DevpiUser(gateway, "root")("GET", "/alice/shut")).status_code == 403
    assert (await DevpiUser(gateway, "bob").result("/alice/shut"))["volatile"] is False


async def test_installers_are_led_to_the_simple_pages(gateway: TestGateway) -> None:
    """By their user agent or by the JSON they take; the devpi client, which names pip as well, gets its document."""
    http = DevpiUser(gateway).http
    for agent in ("pip/26.3 {}", "uv/0.13.8", "Python-urllib/3.11 setuptools/80"):
        answer = await http.get("/root/stable", headers={"user-agent": agent, "accept": "*/*"})
        assert (answer.status_code, answer.headers["location"]) == (302, f"{HOST}/root/stable/+simple/")
    simple = await http.get("/root/stable/", headers={"accept": "application/vnd.pypi.simple.v1+json"})
    assert simple.status_code == 302
    client = await http.get("/root/stable", headers={"user-agent": "devpi-client/7.3.0 pip/26.3"})
    assert client.json()["type"] == "indexconfig"
    plain = await http.get("/root/stable", headers={"user-agent": "curl/8", "accept": "*/*"})
    assert plain.json()["type"] == "indexconfig"
    head = await http.head("/root/stable")
    assert (head.status_code, head.headers["content-type"]) == (200, "application/json")
    other = await http.request("MKCOL", "/root/stable")
    assert (other.status_code, other.headers["allow"]) == (405, "DELETE, GET, HEAD, PATCH, PUT")


async def test_slashes_do_not_matter(gateway: TestGateway) -> None:
    """Both forms of a path answer every method the same."""
    alice = DevpiUser(gateway, "alice")
    assert (await alice("PUT", "/alice/dev/", {})).status_code == 200
    assert (await alice("PATCH", "/alice/dev/", {"title": "x"})).status_code == 200
    assert (await alice.result("/alice/dev/"))["title"] == "x"
    assert (await alice.result("/alice/"))["username"] == "alice"
    assert (await alice("PATCH", "/alice/", {"title": "x"})).status_code == 200
    assert (await alice("DELETE", "/alice/dev/")).status_code == 201


async def test_two_gateways_say_the_same_at_once(gateway: TestGateway, other: TestGateway) -> None:
    """What one made, changed or deleted the other shows, and takes credentials of, without being told."""
    root, there = DevpiUser(gateway, "root"), DevpiUser(other, "root")
    await root("PUT", "/dave", {"password": "dave's"})
    answer = await DevpiUser(other)("POST", "/+login", {"user": "dave", "password": "dave's"})
    token = answer.json()["result"]["password"]
    assert (await DevpiUser(gateway, "dave", token)("PUT", "/dave/dev", {})).status_code == 200
    assert (await there.result("/dave/dev"))["acl_upload"] == ["dave"]
    assert (await DevpiUser(other, "dave", token)("PATCH", "/dave/dev", {"title": "x"})).status_code == 200
    assert (await root.result("/dave"))["indexes"]["dev"]["title"] == "x"
    assert (await root("DELETE", "/dave/dev")).status_code == 201
    assert (await there("GET", "/dave/dev")).status_code == 404


async def test_changes_at_once_are_one_after_the_other(gateway: TestGateway, other: TestGateway) -> None:
    """Of ten creations one is made; of ten additions through two gateways none is lost."""
    alice = [DevpiUser(where, "alice") for where in (gateway, other)]
    root = [DevpiUser(where, "root") for where in (gateway, other)]
    made = await asyncio.gather(*(alice[n % 2]("PUT", "/alice/dev", {}) for n in range(10)))
    assert sorted(answer.status_code for answer in made) == [200] + [409] * 9
    users = await asyncio.gather(*(root[n % 2]("PUT", "/dave", {"password": "x"}) for n in range(4)))
    assert sorted(answer.status_code for answer in users) == [201] + [409] * 3
    added = [[f"acl_upload+=u{number}"] for number in range(10)]
    await asyncio.gather(*(alice[n % 2]("PATCH", "/alice/dev", change) for n, change in enumerate(added)))
    uploaders = (await alice[0].result("/alice/dev"))["acl_upload"]
    assert sorted(uploaders) == ["alice", *(f"u{number}" for number in range(10))]
