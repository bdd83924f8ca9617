"""The requests that both servers are asked, in order, each named for what it is; by sections of the devpi contract."""

from __future__ import annotations

import io
import zipfile

from tests.support.archives import Project, make_sdist, make_wheel
from tests.support.beside import JSON, Ask
from tests.support.devpi_requests import file_path, form, get, login, send, upload

_SIMPLE = "application/vnd.pypi.simple.v1+json"
_PIP = {"user-agent": "pip/26.3", "accept": f"{_SIMPLE}, text/html; q=0.1"}
_BROWSER = {"accept": "text/html"}
_ANYTHING = {"accept": "*/*"}


def _files(version: str, project: str = "hello") -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    about = Project(project, version, requires_python=">=3.9", summary="Says hello.")
    wheel = make_wheel(project, version, project=about)
    sdist = make_sdist(project, version, project=about)
    return (f"{project}-{version}-py3-none-any.whl", wheel), (f"{project}-{version}.tar.gz", sdist)


def _docs(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("index.html", (2026, 1, 1, 0, 0, 0)), f"<html><body>{text}</body></html>")
        archive.writestr(zipfile.ZipInfo("part/more.txt", (2026, 1, 1, 0, 0, 0)), text)
    return buffer.getvalue()


WHEEL, SDIST = _files("1.0")
OTHER_WHEEL, OTHER_SDIST = _files("1.1")
LATER, _ = _files("2.0")
SHARED, SHARED_SDIST = _files("1.0", "shared")
BASE_ONLY, _ = _files("3.0", "baseonly")
CHANGED = (SDIST[0], make_sdist("hello", "1.0", project=Project("hello", "1.0", summary="Says it otherwise.")))
DOCS = ("hello-1.0.doc.zip", _docs("The first text."))
TOX = {"testenvs": {"py": {"python": {"version": "3.11"}, "setup": [], "test": []}}, "host": "h", "platform": "linux"}

DISCOVERY = (
    get("discover the host", "/+api"),
    get("discover an unknown account", "/nobody/+api"),
    get("discover an unknown index", "/nobody/none/+api"),
    get("discover with a slash", "/+api/"),
    login("login with a wrong password", "root", "wrong"),
    login("login of an unknown account", "nobody", "secret"),
    send("login without a password", "POST", "/+login", {"user": "root"}),
    Ask("login with a body that is no JSON", "POST", "/+login", b"{"),
    login("login", "root", ""),
    get("discover when logged in", "/+api", who="root"),
    get("discover with basic credentials", "/+api", who="root", basic=True),
    Ask("discover with a wrong token", "GET", "/+api", None, {**JSON, "x-devpi-auth": "cm9vdDp3cm9uZw=="}),
    Ask("discover with undecodable credentials", "GET", "/+api", None, {**JSON, "x-devpi-auth": "%%%"}),
    get("the server's state", "/+status"),
    get("all accounts", "/"),
)

ACCOUNTS = (
    send("make an account", "PUT", "/alice", {"password": "secret-of-alice", "email": "alice@example.org"}, who="root"),
    send("make an account again", "PUT", "/alice", {"password": "x"}, who="root"),
    send("make an account anonymously", "PUT", "/bob", {"password": "secret-of-bob", "title": "Bob"}),
    send("make an account without a password", "PUT", "/carol", {"email": "c@example.org"}, who="root"),
    send("make an account with an unknown key", "PUT", "/carol", {"password": "x", "shoe": "42"}, who="root"),
    send("make an account of a bad name", "PUT", "/ca:rol", {"password": "x"}, who="root"),
    Ask("make an account of no JSON", "PUT", "/carol", b"{", who="root"),
    send("make an account of a list", "PUT", "/carol", ["password"], who="root"),
    get("an account", "/alice"),
    get("an account with a slash", "/alice/"),
    get("an unknown account", "/carol"),
    login("login of alice", "alice", "secret-of-alice"),
    login("login of bob", "bob", "secret-of-bob"),
    send("change an account", "PATCH", "/alice", {"title": "Alice", "custom_data": {"a": [1]}}, who="alice"),
    send("drop a key of an account", "PATCH", "/alice", {"custom_data": None}, who="alice"),
    send("change what cannot be changed", "PATCH", "/alice", {"username": "x", "created": "y"}, who="alice"),
    get("an account that was changed", "/alice"),
    send("change a stranger's account", "PATCH", "/alice", {"title": "x"}, who="bob"),
    send("change an account anonymously", "PATCH", "/alice", {"title": "x"}),
    send("change an unknown account", "PATCH", "/carol", {"title": "x"}, who="root"),
    send("change a password", "PATCH", "/bob", {"password": "another-of-bob"}, who="bob"),
    login("login with the old password", "bob", "secret-of-bob"),
    login("login with the new password", "bob", "another-of-bob"),
    Ask("remove a stranger's account", "DELETE", "/alice", None, who="bob"),
    Ask("remove root", "DELETE", "/root", None, who="root"),
    Ask("remove an unknown account", "DELETE", "/carol", None, who="root"),
    send("make an account to remove", "PUT", "/dave", {"password": "secret-of-dave"}, who="root"),
    Ask("remove an account", "DELETE", "/dave", None, who="root"),
    get("an account that was removed", "/dave"),
)

_DEV = "/alice/dev"
INDEXES = (
    send("make an index", "PUT", _DEV, {}, who="alice"),
    send("make an index again", "PUT", _DEV, {}, who="alice"),
    send("make an index of an unknown account", "PUT", "/carol/dev", {}, who="root"),
    send("make a stranger's index", "PUT", "/alice/more", {}, who="bob"),
    send("make an index anonymously", "PUT", "/alice/more", {}),
    Ask("make an index of no JSON", "PUT", "/alice/more", b"{", who="alice"),
    send("make an index of a bad name", "PUT", "/alice/mo:re", {}, who="alice"),
    send("make an index with an unknown key", "PUT", "/alice/more", {"shoe": "42"}, who="alice"),
    send("make an index that is perhaps volatile", "PUT", "/alice/more", {"volatile": "maybe"}, who="alice"),
    send("make an index on a missing base", "PUT", "/alice/more", {"bases": "alice/none"}, who="alice"),
    send("make an index on no base", "PUT", "/alice/more", {"bases": "alice"}, who="alice"),
    send("make an index on two bad bases", "PUT", "/alice/more", {"bases": "alice,alice/none"}, who="alice"),
    send("make an index of an unknown type", "PUT", "/alice/more", {"type": "hall"}, who="alice"),
    send("make a mirror of no address", "PUT", "/alice/more", {"type": "mirror", "mirror_url": "ftp://x"}, who="alice"),
    send(
        "make a mirror",
        *("PUT", "/alice/mirror", {"type": "mirror", "mirror_url": "http://127.0.0.1:9/simple/", "volatile": "True"}),
        who="alice",
    ),
    send("make a base", "PUT", "/alice/base", {"volatile": "True", "title": "What all use"}, who="alice"),
    send(
        "make a final index",
        *("PUT", "/alice/prod", {"volatile": "False", "bases": "alice/base", "acl_upload": "alice,:developers"}),
        who="alice",
    ),
    send("options as words", "PATCH", _DEV, ["bases=alice/base", "title=For a=b", "acl_upload+=bob"], who="alice"),
    send("add what is there", "PATCH", _DEV, ["acl_upload+=bob"], who="alice"),
    send("take away", "PATCH", _DEV, ["acl_upload-=bob"], who="alice"),
    send("take away what is not there", "PATCH", _DEV, ["acl_upload-=carol"], who="alice"),
    send("drop an option", "PATCH", _DEV, ["title-="], who="alice"),
    send("drop an option that is not there", "PATCH", _DEV, ["title-="], who="alice"),
    send("drop an option that cannot be", "PATCH", _DEV, ["bases-="], who="alice"),
    send("add to what is no list", "PATCH", _DEV, ["volatile+=x"], who="alice"),
    send("add to an unknown option", "PATCH", _DEV, ["shoe+=42"], who="alice"),
    send("set an unknown option", "PATCH", _DEV, ["shoe=42"], who="alice"),
    send("change nothing", "PATCH", f"{_DEV}?error_on_noop=", ["bases=alice/base"], who="alice"),
    send("options as an object", "PATCH", _DEV, {"mirror_whitelist": "Foo_Bar,*", "projects": ["x"]}, who="alice"),
    send("options with groups", "PATCH", _DEV, {"acl_upload": [":anonymous:", "alice"]}, who="alice"),
    send("options with groups, back", "PATCH", _DEV, {"acl_upload": ["alice"], "mirror_whitelist": ""}, who="alice"),
    send("change the type", "PATCH", _DEV, {"type": "mirror"}, who="alice"),
    send("what was read, sent back", "PATCH", _DEV, {"type": "indexconfig", "result": {"volatile": True}}, who="alice"),
    send("change a stranger's index", "PATCH", _DEV, {"title": "x"}, who="bob"),
    send("change an unknown index", "PATCH", "/alice/none", {"title": "x"}, who="alice"),
    send("inheritance", "PATCH", _DEV, ["mirror_whitelist_inheritance=union"], who="alice"),
    send("an unknown inheritance", "PATCH", _DEV, ["mirror_whitelist_inheritance=hall"], who="alice"),
    send("an index as its own base", "PATCH", "/alice/base", ["bases=alice/base,alice/dev"], who="alice"),
    get("an index", _DEV),
    get("an index with a slash", f"{_DEV}/"),
    get("an index without projects", f"{_DEV}?no_projects="),
    get("a mirror", "/alice/mirror?no_projects="),
    get("an unknown index", "/alice/none"),
    get("discover an index", f"{_DEV}/+api"),
    get("discover a mirror", "/alice/mirror/+api"),
    get("an account with indexes", "/alice"),
    Ask("remove an unknown index", "DELETE", "/alice/none", None, who="alice"),
    Ask("remove a final index", "DELETE", "/alice/prod", None, who="alice"),
    Ask("remove a stranger's index", "DELETE", _DEV, None, who="bob"),
    send("make an index to remove", "PUT", "/alice/gone", {}, who="alice"),
    Ask("remove an index", "DELETE", "/alice/gone", None, who="alice"),
    get("an index that was removed", "/alice/gone"),
)

_FIELDS = {":action": "file_upload", "name": "hello", "version": "1.0", "filetype": "sdist", "pyversion": "source"}
UPLOADS = (
    upload("upload to a mirror", "/alice/mirror/", WHEEL, "1.0", who="alice"),
    upload("upload anonymously", f"{_DEV}/", WHEEL, "1.0", compares=("www-authenticate",)),
    upload("upload without the right", f"{_DEV}/", WHEEL, "1.0", who="bob"),
    upload("upload as root without the right", f"{_DEV}/", WHEEL, "1.0", who="root"),
    upload("upload to an unknown index", "/alice/none/", WHEEL, "1.0", who="alice"),
    form("a form without an action", f"{_DEV}/", {"name": "hello"}, who="alice"),
    form("a form of an unknown action", f"{_DEV}/", {":action": "dance", "name": "hello"}, who="alice"),
    form("an upload without a file", f"{_DEV}/", _FIELDS, who="alice"),
    upload("a file of another version", f"{_DEV}/", SDIST, "9.9", who="alice"),
    upload("a file of another project", f"{_DEV}/", SDIST, "1.0", "other", who="alice"),
    upload("a file that is no archive", f"{_DEV}/", ("hello-1.0.txt", b"x"), "1.0", who="alice"),
    upload("upload a wheel", f"{_DEV}/", WHEEL, "1.0", who="alice"),
    upload("upload a source archive", f"{_DEV}/", SDIST, "1.0", who="alice"),
    upload("upload without the slash", _DEV, OTHER_WHEEL, "1.1", who="alice"),
    upload("upload with basic credentials", f"{_DEV}/", OTHER_SDIST, "1.1", who="alice", basic=True),
    form("upload with basic credentials and no digest", f"{_DEV}/", _FIELDS, SDIST, who="alice", basic=True),
    upload("the same file again", f"{_DEV}/", SDIST, "1.0", who="alice"),
    upload("other bytes, volatile", f"{_DEV}/", CHANGED, "1.0", who="alice"),
    get("the file that was overwritten", file_path("alice/dev", SDIST)),
    upload("upload to a base", "/alice/base/", SHARED, "1.0", "shared", who="alice"),
    upload("upload the sdist to a base", "/alice/base/", SHARED_SDIST, "1.0", "shared", who="alice"),
    upload("upload what only the base has", "/alice/base/", BASE_ONLY, "3.0", "baseonly", who="alice"),
    upload("upload the same release to a base", "/alice/base/", WHEEL, "1.0", who="alice"),
    upload("upload a newer release to a base", "/alice/base/", LATER, "2.0", who="alice"),
    upload("upload to a final index", "/alice/prod/", SDIST, "1.0", who="alice"),
    upload("the same file to a final index", "/alice/prod/", SDIST, "1.0", who="alice"),
    upload("other bytes, final", "/alice/prod/", CHANGED, "1.0", who="alice"),
    upload("other bytes, final, not by devpi", "/alice/prod/", CHANGED, "1.0", who="alice", basic=True),
    form(
        "register metadata",
        f"{_DEV}/",
        {":action": "submit", "name": "Hello.Reg", "version": "0.1", "summary": "Only said.", "license": "UNKNOWN"},
        who="alice",
    ),
    form("register metadata without a name", f"{_DEV}/", {":action": "submit", "version": "0.1"}, who="alice"),
    form(
        "upload documentation",
        f"{_DEV}/",
        {":action": "doc_upload", "name": "hello", "version": "1.0"},
        DOCS,
        who="alice",
    ),
    form("documentation of the newest", f"{_DEV}/", {":action": "doc_upload", "name": "hello"}, DOCS, who="alice"),
    form("documentation of nothing", f"{_DEV}/", {":action": "doc_upload", "name": "nothing"}, DOCS, who="alice"),
)

PROJECTS = (
    get("an index with projects", _DEV),
    get("a project", f"{_DEV}/hello"),
    get("a project with a slash", f"{_DEV}/hello/"),
    get("a project without bases", f"{_DEV}/hello?ignore_bases="),
    get("a project of a base", f"{_DEV}/shared"),
    get("a project of a base, without bases", f"{_DEV}/shared?ignore_bases="),
    get("a project that was registered", f"{_DEV}/hello-reg"),
    get("a project by another spelling", f"{_DEV}/Hello.Reg", compares=("location",)),
    get("an unknown project", f"{_DEV}/nothing"),
    get("a version", f"{_DEV}/hello/1.0"),
    get("a version of a base", f"{_DEV}/hello/2.0"),
    get("an unknown version", f"{_DEV}/hello/9.9"),
    get("a version of an unknown project", f"{_DEV}/nothing/1.0"),
    get("a version on a final index", "/alice/prod/hello/1.0"),
)

SIMPLE = (
    get("pages as JSON", f"{_DEV}/+simple/hello/", headers={"accept": _SIMPLE}),
    get("pages as HTML", f"{_DEV}/+simple/hello/", headers=_BROWSER),
    get("pages for pip", f"{_DEV}/+simple/hello/", headers=_PIP),
    get("pages for pip, HTML only", f"{_DEV}/+simple/hello/", headers={**_PIP, **_BROWSER}),
    get("pages without a slash", f"{_DEV}/+simple/hello", headers=_BROWSER, compares=("location",)),
    get("pages without a slash for pip", f"{_DEV}/+simple/hello", headers=_PIP),
    get("pages by another spelling", f"{_DEV}/+simple/Hello.Reg/", headers=_BROWSER, compares=("location",)),
    get("pages of what has no files", f"{_DEV}/+simple/hello-reg/", headers=_PIP),
    get("pages of nothing", f"{_DEV}/+simple/nothing/", headers=_PIP),
    get("pages of a base's project", f"{_DEV}/+simple/shared/", headers=_PIP),
    get("absolute pages", f"{_DEV}/+simple/hello/", headers={**_PIP, "x-devpi-absolute-urls": ""}),
    get("the list as JSON", f"{_DEV}/+simple/", headers=_PIP),
    get("the list as HTML", f"{_DEV}/+simple/", headers=_BROWSER),
    get("the list without a slash", f"{_DEV}/+simple", headers=_BROWSER, compares=("location",)),
    get("the list for pip at the index", f"{_DEV}", headers=_PIP),
    get("a page for pip at the project", f"{_DEV}/hello/", headers=_PIP),
    get("pages of an unknown index", "/alice/none/+simple/", headers=_PIP),
    Ask("refresh", "POST", f"{_DEV}/+simple/hello/refresh", b"", who="alice", compares=("location",)),
)

_FILE = file_path("alice/dev", WHEEL)
FILES = (
    get("a file", _FILE, headers=_ANYTHING, compares=("cache-control",)),
    Ask("the head of a file", "HEAD", _FILE, None, _ANYTHING, compares=("content-length",)),
    get("a file with an escaped plus", _FILE.replace("+", "%2B"), headers=_ANYTHING),
    get("a source archive", file_path("alice/dev", OTHER_SDIST), headers=_ANYTHING),
    get("what is known of a file", _FILE),
    get("a file of a base through the base", file_path("alice/base", SHARED), headers=_ANYTHING),
    get("a file that never was", f"{_DEV}/+f/000/0000000000000/hello-1.0.tar.gz", headers=_ANYTHING),
)

PUSHES = (
    send("push", "PUSH", _DEV, {"name": "hello", "version": "1.1", "targetindex": "alice/prod"}, who="alice"),
    send("push again", "PUSH", _DEV, {"name": "hello", "version": "1.1", "targetindex": "alice/prod"}, who="alice"),
    send("push by POST", "POST", _DEV, {"name": "hello", "version": "1.1", "targetindex": "alice/base"}, who="alice"),
    send(
        "push an unknown version",
        "PUSH",
        _DEV,
        {"name": "hello", "version": "9", "targetindex": "alice/prod"},
        who="alice",
    ),
    send(
        "push an unknown project", "PUSH", _DEV, {"name": "x", "version": "9", "targetindex": "alice/prod"}, who="alice"
    ),
    send(
        "push from a base", "PUSH", _DEV, {"name": "shared", "version": "1.0", "targetindex": "alice/prod"}, who="alice"
    ),
    send(
        "push to nowhere", "PUSH", _DEV, {"name": "hello", "version": "1.1", "targetindex": "alice/none"}, who="alice"
    ),
    send("push to no index", "PUSH", _DEV, {"name": "hello", "version": "1.1", "targetindex": "alice"}, who="alice"),
    send(
        "push without the right",
        "PUSH",
        _DEV,
        {"name": "hello", "version": "1.1", "targetindex": "alice/prod"},
        who="bob",
    ),
    send("push anonymously", "PUSH", _DEV, {"name": "hello", "version": "1.1", "targetindex": "alice/prod"}),
    send(
        "push with an unknown option",
        *("PUSH", _DEV, {"name": "hello", "version": "1.1", "targetindex": "alice/prod", "shoe": 42}),
        who="alice",
    ),
    send(
        "push nothing and only documentation",
        *(
            "PUSH",
            _DEV,
            {"name": "hello", "version": "1.0", "targetindex": "alice/base", "no_docs": True, "only_docs": True},
        ),
        who="alice",
    ),
    send(
        "push documentation alone",
        *("PUSH", _DEV, {"name": "hello", "version": "1.0", "targetindex": "alice/base", "only_docs": True}),
        who="alice",
    ),
    Ask("push what is no JSON", "PUSH", _DEV, b"{", who="alice"),
    get("a version that was pushed", "/alice/prod/hello/1.1"),
)

RESULTS = (
    send("a test result", "POST", _FILE, TOX, who="alice"),
    send("a test result of nothing", "POST", f"{_DEV}/+f/000/0000000000000/hello-1.0.tar.gz", TOX, who="alice"),
    Ask("a test result of no JSON", "POST", _FILE, b"{", who="alice"),
    send("an anonymous test result", "POST", _FILE, TOX),
    get("a stored test result", "{result}", headers=_ANYTHING),
    get("a version with a test result", f"{_DEV}/hello/1.0"),
)

DOCUMENTATION = (
    get("documentation", f"{_DEV}/hello/1.0/+doc/index.html", headers=_BROWSER),
    get("documentation without a file", f"{_DEV}/hello/1.0/+doc/", headers=_BROWSER, compares=("location",)),
    get("a file of documentation", f"{_DEV}/hello/1.0/+doc/part/more.txt", headers=_ANYTHING),
    get("the latest documentation", f"{_DEV}/hello/latest/+doc/index.html", headers=_BROWSER),
    get("the stable documentation", f"{_DEV}/hello/stable/+doc/index.html", headers=_BROWSER),
    get("a missing file of documentation", f"{_DEV}/hello/1.0/+doc/none.html", headers=_BROWSER),
    get("documentation of nothing at all", f"{_DEV}/nothing/1.0/+doc/index.html", headers=_BROWSER),
    get("documentation of a version without", f"{_DEV}/hello/9.9/+doc/index.html", headers=_BROWSER),
)

REMOVALS = (
    Ask("remove a version without the right", "DELETE", f"{_DEV}/hello/1.1", None, who="bob"),
    Ask("remove a version", "DELETE", f"{_DEV}/hello/1.1", None, who="alice"),
    get("a file that was removed", file_path("alice/dev", OTHER_WHEEL), headers=_ANYTHING),
    Ask("remove it again", "DELETE", f"{_DEV}/hello/1.1", None, who="alice"),
    Ask("remove a file", "DELETE", _FILE, None, who="alice"),
    Ask("remove a file again", "DELETE", _FILE, None, who="alice"),
    Ask("remove an unknown file", "DELETE", f"{_DEV}/+f/000/0000000000000/hello-1.0.tar.gz", None, who="alice"),
    Ask("remove a version of a final index", "DELETE", "/alice/prod/hello/1.1", None, who="alice"),
    Ask("remove it by force", "DELETE", "/alice/prod/hello/1.1?force=", None, who="alice"),
    upload("upload what was removed by force", "/alice/prod/", OTHER_WHEEL, "1.1", who="alice"),
    Ask("remove a project of a final index", "DELETE", "/alice/prod/hello", None, who="alice"),
    Ask("remove a project", "DELETE", f"{_DEV}/hello/", None, who="alice"),
    get("a project that was removed", f"{_DEV}/hello?ignore_bases="),
    Ask("remove a project again", "DELETE", f"{_DEV}/hello/", None, who="alice"),
    Ask("remove an account with a final index", "DELETE", "/alice", None, who="alice"),
    Ask("remove an index with files", "DELETE", "/alice/base", None, who="alice"),
    get("a file of an index that was removed", file_path("alice/base", SHARED), headers=_ANYTHING),
    get("an index whose base was removed", _DEV),
)

RESOLUTION = (
    send("make a stage", "PUT", "/bob/lib", {}, who="bob"),
    send("make a stage on top", "PUT", "/bob/app", {"bases": "bob/lib"}, who="bob"),
    send("make a stage on two", "PUT", "/bob/top", {"bases": "bob/app,bob/lib"}, who="bob"),
    send("close the circle", "PATCH", "/bob/lib", ["bases=bob/top"], who="bob"),
    upload("the same name below", "/bob/lib/", CHANGED, "1.0", who="bob"),
    upload("a release below alone", "/bob/lib/", OTHER_WHEEL, "1.1", who="bob"),
    upload("the same name on top", "/bob/app/", SDIST, "1.0", who="bob"),
    get("a page of a diamond", "/bob/top/+simple/hello/", headers=_PIP),
    get("a project of a diamond", "/bob/top/hello"),
    get("a version in a circle", "/bob/lib/hello/1.0"),
    get("the list of a diamond", "/bob/top/+simple/", headers=_PIP),
    get("projects of a diamond", "/bob/top"),
    send("forget the bases", "PATCH", "/bob/top", {"bases": ""}, who="bob"),
    get("a page without bases", "/bob/top/+simple/hello/", headers=_PIP),
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
