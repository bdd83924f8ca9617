"""The requests that both servers are asked, in order, each named for what it is; by sections of the devpi contract."""

from __future__ import annotations

from tests.support.beside import Ask
from tests.support.devpi_asks_accounts import ACCOUNTS, DISCOVERY, INDEXES
from tests.support.devpi_asks_releases import FILES, PROJECTS, SIMPLE, UPLOADS
from tests.support.devpi_files import ANYTHING, BROWSER, CHANGED, DEV, DOCS, FILE, OTHER_WHEEL, PIP, SDIST, SHARED, TOX
from tests.support.devpi_requests import file_path, get, send, upload

PUSHES = (
    send("push", "PUSH", DEV, {"name": "hello", "version": "1.1", "targetindex": "alice/prod"}, who="alice"),
    send("push again", "PUSH", DEV, {"name": "hello", "version": "1.1", "targetindex": "alice/prod"}, who="alice"),
    send("push by POST", "POST", DEV, {"name": "hello", "version": "1.1", "targetindex": "alice/base"}, who="alice"),
    send(
        "push an unknown version",
        "PUSH",
        DEV,
        {"name": "hello", "version": "9", "targetindex": "alice/prod"},
        who="alice",
    ),
    send(
        "push an unknown project", "PUSH", DEV, {"name": "x", "version": "9", "targetindex": "alice/prod"}, who="alice"
    ),
    send(
        "push from a base", "PUSH", DEV, {"name": "shared", "version": "1.0", "targetindex": "alice/prod"}, who="alice"
    ),
    send("push to nowhere", "PUSH", DEV, {"name": "hello", "version": "1.1", "targetindex": "alice/none"}, who="alice"),
    send("push to no index", "PUSH", DEV, {"name": "hello", "version": "1.1", "targetindex": "alice"}, who="alice"),
    send(
        "push without the right",
        "PUSH",
        DEV,
        {"name": "hello", "version": "1.1", "targetindex": "alice/prod"},
        who="bob",
    ),
    send("push anonymously", "PUSH", DEV, {"name": "hello", "version": "1.1", "targetindex": "alice/prod"}),
    send(
        "push with an unknown option",
        *("PUSH", DEV, {"name": "hello", "version": "1.1", "targetindex": "alice/prod", "shoe": 42}),
        who="alice",
    ),
    send(
        "push nothing and only documentation",
        *(
            "PUSH",
            DEV,
            {"name": "hello", "version": "1.0", "targetindex": "alice/base", "no_docs": True, "only_docs": True},
        ),
        who="alice",
    ),
    send(
        "push documentation alone",
        *("PUSH", DEV, {"name": "hello", "version": "1.0", "targetindex": "alice/base", "only_docs": True}),
        who="alice",
    ),
    send("push without a name", "PUSH", DEV, {"version": "1.1", "targetindex": "alice/prod"}, who="alice"),
    send("push without a target", "PUSH", DEV, {"name": "hello", "version": "1.1"}, who="alice"),
    send(
        "push to a mirror", "PUSH", DEV, {"name": "hello", "version": "1.1", "targetindex": "alice/mirror"}, who="alice"
    ),
    send(
        "push from an unknown index",
        "PUSH",
        "/alice/none",
        {"name": "hello", "version": "1.1", "targetindex": "alice/prod"},
        who="alice",
    ),
    send(
        "push from a mirror",
        "PUSH",
        "/alice/mirror",
        {"name": "hello", "version": "1.1", "targetindex": "alice/prod"},
        who="alice",
    ),
    send(
        "push a registered version",
        "PUSH",
        DEV,
        {"name": "hello-reg", "version": "0.1", "targetindex": "alice/base"},
        who="alice",
    ),
    send(
        "push without documentation",
        "PUSH",
        DEV,
        {"name": "hello", "version": "1.0", "targetindex": "alice/odd", "no_docs": True},
        who="alice",
    ),
    send(
        "push to another registry",
        *(
            "PUSH",
            DEV,
            {"name": "hello", "version": "1.1", "posturl": "http://127.0.0.1:9/", "username": "a", "password": "b"},
        ),
        who="alice",
    ),
    Ask("push what is no JSON", "PUSH", DEV, b"{", who="alice"),
    get("a version that was pushed", "/alice/prod/hello/1.1"),
)

RESULTS = (
    send("a test result", "POST", FILE, TOX, who="alice"),
    send("a test result of nothing", "POST", f"{DEV}/+f/000/0000000000000/hello-1.0.tar.gz", TOX, who="alice"),
    Ask("a test result of no JSON", "POST", FILE, b"{", who="alice"),
    send("an anonymous test result", "POST", FILE, TOX),
    send("close an index to results", "PATCH", DEV, {"acl_toxresult_upload": "alice"}, who="alice"),
    send("a test result without the right", "POST", FILE, TOX, who="bob"),
    send("an anonymous test result without the right", "POST", FILE, TOX),
    send("open an index to results", "PATCH", DEV, {"acl_toxresult_upload": ":ANONYMOUS:"}, who="alice"),
    send("a test result of what was overwritten", "POST", file_path("alice/dev", SDIST), TOX, who="alice"),
    get("a stored test result", "{result}", headers=ANYTHING),
    get("a version with a test result", f"{DEV}/hello/1.0"),
)

DOCUMENTATION = (
    get("documentation", f"{DEV}/hello/1.0/+doc/index.html", headers=BROWSER),
    get("documentation without a path", f"{DEV}/hello/1.0/+doc/", headers=BROWSER),
    get("a file of documentation", f"{DEV}/hello/1.0/+doc/part/more.txt", headers=ANYTHING),
    get("documentation in its frame", f"{DEV}/hello/1.0/+d/index.html", headers=BROWSER),
    get("documentation out of its folder", f"{DEV}/hello/1.0/+doc/..%2F..%2Fsecret", headers=BROWSER),
    get("documentation by another spelling", f"{DEV}/HELLO/1.0/+doc/index.html", headers=BROWSER),
    get("documentation of a base alone", f"{DEV}/shared/latest/+doc/index.html", headers=BROWSER),
    get("the archive of documentation", file_path("alice/dev", DOCS), headers=ANYTHING),
    get("the latest documentation", f"{DEV}/hello/latest/+doc/index.html", headers=BROWSER),
    get("the stable documentation", f"{DEV}/hello/stable/+doc/index.html", headers=BROWSER),
    get("a missing file of documentation", f"{DEV}/hello/1.0/+doc/none.html", headers=BROWSER),
    get("documentation of nothing at all", f"{DEV}/nothing/1.0/+doc/index.html", headers=BROWSER),
    get("documentation of a version without", f"{DEV}/hello/9.9/+doc/index.html", headers=BROWSER),
)

REMOVALS = (
    Ask("remove a version without the right", "DELETE", f"{DEV}/hello/1.1", None, who="bob"),
    Ask("remove a file without the right", "DELETE", FILE, None, who="bob"),
    Ask("remove a project without the right", "DELETE", f"{DEV}/hello", None, who="bob"),
    Ask("remove a project anonymously", "DELETE", f"{DEV}/hello", None),
    Ask("remove a project of an unknown index", "DELETE", "/alice/none/hello", None, who="alice"),
    Ask("remove a version of an unknown index", "DELETE", "/alice/none/hello/1.0", None, who="root"),
    Ask("remove a project of a base alone", "DELETE", f"{DEV}/shared", None, who="alice"),
    Ask("remove an unknown version", "DELETE", f"{DEV}/hello/9.9", None, who="alice"),
    Ask("remove a test result", "DELETE", "{result}", None, who="alice"),
    Ask("remove a project of a mirror", "DELETE", "/alice/mirror/hello", None, who="alice"),
    Ask("remove a version", "DELETE", f"{DEV}/hello/1.1", None, who="alice"),
    get("a file that was removed", file_path("alice/dev", OTHER_WHEEL), headers=ANYTHING),
    Ask("remove it again", "DELETE", f"{DEV}/hello/1.1", None, who="alice"),
    Ask("remove a file", "DELETE", FILE, None, who="alice"),
    Ask("remove a file again", "DELETE", FILE, None, who="alice"),
    Ask("remove an unknown file", "DELETE", f"{DEV}/+f/000/0000000000000/hello-1.0.tar.gz", None, who="alice"),
    Ask("remove a version of a final index", "DELETE", "/alice/prod/hello/1.1", None, who="alice"),
    Ask("remove a file of a final index", "DELETE", file_path("alice/prod", OTHER_WHEEL), None, who="alice"),
    Ask("remove it by force", "DELETE", "/alice/prod/hello/1.1?force=", None, who="alice"),
    upload("upload what was removed by force", "/alice/prod/", OTHER_WHEEL, "1.1", who="alice"),
    Ask("remove a project of a final index", "DELETE", "/alice/prod/hello", None, who="alice"),
    Ask("remove a project", "DELETE", f"{DEV}/hello/", None, who="alice"),
    get("a project that was removed", f"{DEV}/hello?ignore_bases="),
    Ask("remove a project again", "DELETE", f"{DEV}/hello/", None, who="alice"),
    Ask("remove an account with a final index", "DELETE", "/alice", None, who="alice"),
    Ask("remove an index with files", "DELETE", "/alice/base", None, who="alice"),
    get("a file of an index that was removed", file_path("alice/base", SHARED), headers=ANYTHING),
    get("an index whose base was removed", DEV),
)

RESOLUTION = (
    send("make a stage", "PUT", "/bob/lib", {}, who="bob"),
    send("make a stage on top", "PUT", "/bob/app", {"bases": "bob/lib"}, who="bob"),
    send("make a stage on two", "PUT", "/bob/top", {"bases": "bob/app,bob/lib"}, who="bob"),
    send("close the circle", "PATCH", "/bob/lib", ["bases=bob/top"], who="bob"),
    upload("the same name below", "/bob/lib/", CHANGED, "1.0", who="bob"),
    upload("a release below alone", "/bob/lib/", OTHER_WHEEL, "1.1", who="bob"),
    upload("the same name on top", "/bob/app/", SDIST, "1.0", who="bob"),
    get("a page of a diamond", "/bob/top/+simple/hello/", headers=PIP),
    get("a project of a diamond", "/bob/top/hello"),
    get("a version in a circle", "/bob/lib/hello/1.0"),
    get("the list of a diamond", "/bob/top/+simple/", headers=PIP),
    get("projects of a diamond", "/bob/top"),
    send("a mirror among the bases", "PATCH", "/bob/top", {"bases": "alice/mirror,bob/lib"}, who="bob"),
    get("a page above a mirror", "/bob/top/+simple/hello/", headers=PIP),
    get("a page of what none above a mirror has", "/bob/top/+simple/nothing/", headers=PIP),
    get("a project that none above a mirror has", "/bob/top/nothing"),
    send("forget the bases", "PATCH", "/bob/top", {"bases": ""}, who="bob"),
    get("a page without bases", "/bob/top/+simple/hello/", headers=PIP),
)

CHAPTERS = {
    "discovery": DISCOVERY,
    "accounts": ACCOUNTS,
    "indexes": INDEXES,
    "uploads": UPLOADS,
    "projects": PROJECTS,
    "simple": SIMPLE,
    "files": FILES,
    "pushes": PUSHES,
    "results": RESULTS,
    "documentation": DOCUMENTATION,
    "removals": REMOVALS,
    "resolution": RESOLUTION,
}
"""All of it, in order: each chapter builds on those before."""
