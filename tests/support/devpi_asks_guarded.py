"""What both servers are asked where ours keeps its safe defaults, and root has a password on both."""

from __future__ import annotations

from tests.support.archives import Project, make_wheel
from tests.support.beside import JSON, Ask
from tests.support.devpi_files import ANYTHING, CHANGED, DEV, FILE, OTHER_WHEEL, PIP, SDIST, TOX, WHEEL
from tests.support.devpi_requests import file_path, form, get, login, send, upload

PASSWORD = "a password of root"
"""Root's, on both."""

_OF_ANOTHER = (OTHER_WHEEL[0], make_wheel("hello", "1.1", project=Project("other", "7")))
_NO_ARCHIVE = ("hello-1.2.tar.gz", b"These bytes are no archive.")
_SUBMIT = {":action": "submit", "name": "hello", "version": "1.0", "summary": "Said later."}

GUARDED = (
    login("login without root's password", "root", ""),
    login("login with root's password", "root", PASSWORD),
    send("anybody makes an account", "PUT", "/carol", {"password": "x"}),
    send(
        "root makes an account", "PUT", "/alice", {"password": "secret-of-alice", "email": "a@example.org"}, who="root"
    ),
    login("login to a guarded server", "alice", "secret-of-alice"),
    send("an account makes an account", "PUT", "/dave", {"password": "x"}, who="alice"),
    get("an account's address, to anybody", "/alice"),
    get("an account's address, to itself", "/alice", who="alice"),
    send("make a guarded index", "PUT", DEV, {}, who="alice"),
    send("make a guarded final index", "PUT", "/alice/prod", {"volatile": "False"}, who="alice"),
    upload("upload what is in order", f"{DEV}/", WHEEL, "1.0", who="alice"),
    upload("upload what is in order to a final index", "/alice/prod/", SDIST, "1.0", who="alice"),
    upload("upload another's wheel", f"{DEV}/", _OF_ANOTHER, "1.1", who="alice"),
    upload("upload what is no archive", f"{DEV}/", _NO_ARCHIVE, "1.2", who="alice"),
    upload("upload by a password, guarded", f"{DEV}/", SDIST, "1.0", credentials=("alice", "secret-of-alice")),
    upload("other bytes to a guarded final index", "/alice/prod/", CHANGED, "1.0", who="alice"),
    form("register over a release with files", f"{DEV}/", _SUBMIT, who="alice"),
    get("what such a release says then", f"{DEV}/hello/1.0"),
    get("a guarded page", f"{DEV}/+simple/hello/", headers=PIP),
    get("a wheel's metadata", f"{FILE}.metadata", headers=ANYTHING),
    send("anybody sends a test result", "POST", FILE, TOX),
    send("an account sends a test result", "POST", FILE, TOX, who="alice"),
    Ask("a guarded refresh", "POST", f"{DEV}/+simple/hello/refresh", b"", JSON),
    Ask("remove from a guarded final index", "DELETE", "/alice/prod/hello/1.0?force=", None, who="alice"),
    get("what was removed there", file_path("alice/prod", SDIST), headers=ANYTHING),
    upload("upload what was removed there", "/alice/prod/", SDIST, "1.0", who="alice"),
    upload("overwrite in a guarded index", f"{DEV}/", SDIST, "1.0", who="alice"),
    upload("overwrite with other bytes", f"{DEV}/", CHANGED, "1.0", who="alice"),
)
