"""What a devpi export says is read whole, and everything that cannot come in is told before anything is written."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from argon2 import PasswordHasher

from bench.exporting import ExportFolder
from deploy.importing.export import read_export
from deploy.importing.export_rows import Export, ForeignExport
from deploy.importing.export_settings import Renames
from deploy.importing.report import NOTE
from services.upload.importing import REFUSED
from shared.auth.principal import AUTHENTICATED, Grant, Verb
from shared.reading.devpi_rows import FROM_MIRROR

# As devpi-server 6.20 writes them, but cheap.
_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("secret")


@pytest.fixture
def made(tmp_path: Path) -> ExportFolder:
    """An export with one account and one index."""
    export = ExportFolder(tmp_path / "export")
    export.user("alice", _HASH, email="alice@example.org", title="Alice", custom_data={"x": 1})
    export.index("alice/dev")
    return export


def read(made: ExportFolder, renames: dict[str, str] | None = None, *, public: bool = True) -> Export:
    """Read what was made so far."""
    return read_export(orjson.dumps(made.document), Renames(renames or {}), public=public)


def refused(export: Export) -> str:
    """Return everything that stands against an import."""
    return "\n".join(f"{one.what}: {one.why}" for one in export.findings if one.status == REFUSED)


def test_accounts_keep_their_argon2_hashes(made: ExportFolder) -> None:
    """A hash that can be compared here comes along; another form, or one that costs too much, does not."""
    made.user("old", "5f4dcc3b5aa765d61d8327deb882cf99", pwsalt="salt")
    made.user("greedy", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("x").replace("m=8", "m=4194304"))
    export = read(made)
    hashes = {account.name: account.password_hash for account in export.accounts}
    assert hashes == {"alice": _HASH, "old": None, "greedy": None}
    assert {one.what for one in export.findings if one.status == NOTE and one.kind == "account"} == {"old", "greedy"}
    assert dict(export.accounts[0].profile) == {"title": "Alice", "custom_data": {"x": 1}}
    assert not refused(export)


def test_lists_of_rights_become_grants(made: ExportFolder) -> None:
    """Uploaders upload and remove; an owner who is not listed configures and removes, and does not upload."""
    made.index("alice/open", acl_upload=["bob", ":team"], acl_toxresult_upload=[":ANONYMOUS:"], volatile=False)
    index = read(made).indexes[1].index
    assert Grant("bob", Verb.UPLOAD) in index.grants
    assert Grant(":team", Verb.REMOVE) in index.grants
    assert Grant(AUTHENTICATED, Verb.TEST_RESULT) in index.grants
    assert {grant.verb for grant in index.grants if grant.subject == "alice"} == {
        Verb.READ,
        Verb.REMOVE,
        Verb.APPROVE,
        Verb.CONFIGURE,
    }
    assert not index.volatile
    private = read(made, public=False).indexes[1].index
    assert {grant.subject for grant in private.grants if grant.verb is Verb.READ} == {"alice", "bob", ":team"}


def test_mirrors_come_as_definitions(made: ExportFolder) -> None:
    """A mirror keeps its options, and leaves its files to its upstream."""
    url = "https://mirror.example/simple/"
    made.document["indexes"]["alice/mirror"] = {
        "indexconfig": {"type": "mirror", "volatile": False, "mirror_url": url, "mirror_cache_expiry": 600},
        "projects": {},
        "files": [{"relpath": "alice/mirror/x/1/x-1.tar.gz"}],
    }
    mirror = read(made).indexes[1]
    assert mirror.index.type == "mirror"
    assert mirror.index.settings == {"mirror_url": url, "mirror_cache_expiry": 600}
    assert (list(mirror.files), list(mirror.left)) == ([], ["alice/mirror/x/1/x-1.tar.gz"])


def test_a_missing_inheritance_counts_as_union(made: ExportFolder) -> None:
    """Configurations from before the option was there unite whitelists (contract devpi section 15)."""
    del made.document["indexes"]["alice/dev"]["indexconfig"]["mirror_whitelist_inheritance"]
    settings = read(made).indexes[0].index.settings
    assert settings["mirror_whitelist_inheritance"] == "union"


def test_names_that_are_none_here_are_told_and_can_be_changed(made: ExportFolder) -> None:
    """The reason says what to do; with it done, owner, bases and rights follow."""
    made.user("joe@corp", _HASH)
    made.index("joe@corp/x", bases=["alice/dev"])
    made.index("alice/y", bases=["joe@corp/x"], acl_upload=["joe@corp"])
    told = refused(read(made))
    assert "--rename joe@corp=NAME" in told
    assert "alice/y acl_upload" in told
    export = read(made, {"joe@corp": "joe"})
    assert not refused(export)
    names = {str(one.index.name): one.index for one in export.indexes}
    assert names.keys() == {"alice/dev", "joe/x", "alice/y"}
    assert [str(base) for base in names["alice/y"].bases] == ["joe/x"]
    assert Grant("joe", Verb.UPLOAD) in names["alice/y"].grants
    assert "names that others have" in refused(read(made, {"joe@corp": "alice"}))


@pytest.mark.parametrize(
    ("document", "word"),
    [
        (b"nonsense", "no JSON"),
        (b"[]", "dumpversion"),
        (b'{"dumpversion": "1", "users": {}, "indexes": {}}', "dump version '1'"),
        (b'{"dumpversion": "2", "users": [], "indexes": {}}', "users and indexes"),
        (b'{"dumpversion": "2", "users": {"a": 1}, "indexes": {}}', "users and indexes"),
    ],
)
def test_a_foreign_document_is_no_export(document: bytes, word: str) -> None:
    """What another program or version wrote is refused in one sentence."""
    with pytest.raises(ForeignExport, match=word):
        read_export(document, Renames({}))


def test_unknown_keys_are_told_wherever_they_are(made: ExportFolder) -> None:
    """What is not understood is never dropped in silence."""
    made.document["more"] = 1
    made.document["users"]["alice"]["more"] = 1
    made.document["indexes"]["alice/dev"]["more"] = 1
    made.document["indexes"]["alice/dev"]["indexconfig"]["more"] = 1
    made.file("alice/dev", "hello", "1.0", "hello-1.0.tar.gz", b"x")
    made.document["indexes"]["alice/dev"]["files"][0]["more"] = 1
    made.document["indexes"]["alice/dev"]["files"][0]["entrymapping"]["more"] = 1
    assert refused(read(made)).count("'more' is not known") == 6


@pytest.mark.parametrize("path", ["../x-1.0.tar.gz", "/etc/x-1.0.tar.gz", "alice/../../x-1.0.tar.gz", ""])
def test_no_entry_leads_out_of_the_folder(made: ExportFolder, path: str) -> None:
    """A path of the document is never followed above the export."""
    made.document["indexes"]["alice/dev"]["files"] = [
        {"relpath": path, "type": "releasefile", "projectname": "x", "version": "1.0"}
    ]
    export = read(made)
    assert "leads out" in refused(export)
    assert not export.indexes[0].files


def test_files_keep_digest_time_and_log(made: ExportFolder) -> None:
    """A plain upload has no history, a pushed file all of it; who uploaded it is its uploader."""
    made.release("alice/dev", "Hello", "1.0", summary="words", requires_python=">=3.9")
    made.file("alice/dev", "Hello", "1.0", "Hello-1.0.tar.gz", b"x", who="bob")
    pushed = made.document["indexes"]["alice/dev"]["files"][0]["log"][0] | {"what": "push", "src": "alice/other"}
    made.file("alice/dev", "Hello", "1.0", "Hello-1.0.zip", b"y")
    made.document["indexes"]["alice/dev"]["files"][1]["log"].append(pushed)
    index = read(made).indexes[0]
    plain, moved = index.files
    assert (plain.uploader, list(plain.history)) == ("bob", [])
    assert plain.uploaded_at.isoformat() == "2026-01-02T03:04:05+00:00"
    assert [entry["what"] for entry in moved.history] == ["upload", "push"]
    assert plain.coordinates.display_name == "Hello"
    assert index.releases["hello", "1.0"].fields["summary"] == "words"


def test_a_file_that_came_from_a_mirror(made: ExportFolder) -> None:
    """One that was pushed and never uploaded keeps that, so that no upload is said of it."""
    made.file("alice/dev", "Hello", "1.0", "Hello-1.0.tar.gz", b"x")
    file = made.document["indexes"]["alice/dev"]["files"][0]
    pushed = file["log"][0] | {"what": "push", "src": "root/pypi"}
    replaced = {"what": "overwrite", "who": None, "count": 1, "when": pushed["when"]}
    file["log"] = [replaced, pushed]
    (found,) = read(made).indexes[0].files
    assert (found.uploader, list(found.history)) == ("", [replaced, pushed | {FROM_MIRROR: True}])


def test_test_results_belong_to_a_file_of_the_export(made: ExportFolder) -> None:
    """A result of a file that is not there is refused; a digest that is the file's own, as devpi 6.5 wrote, is none."""
    made.file("alice/dev", "hello", "1.0", "hello-1.0.tar.gz", b"x")
    digest = made.document["indexes"]["alice/dev"]["files"][0]["entrymapping"]["hash_spec"]
    of = ("hello", "1.0", "alice")
    for name in ("hello-1.0.tar.gz", "gone-1.0.tar.gz"):
        path = f"alice/dev/hello/{digest}/{name}.toxresult-20260102030405-0"
        made.put("alice/dev", "toxresult", path, b"{}", of, for_entrypath=f"alice/dev/+f/123/4567890123456/{name}")
    mapping = made.document["indexes"]["alice/dev"]["files"][1]["entrymapping"]
    mapping["hashes"] = {"sha256": digest.partition("=")[2]}
    mapping["hash_spec"] = digest
    export = read(made)
    assert "gone-1.0.tar.gz, is not in the export" in refused(export)
    assert [file.kind for file in export.indexes[0].files] == ["releasefile", "toxresult"]
    assert export.indexes[0].files[1].digests == {}


def test_a_name_stands_for_one_file_of_an_index(made: ExportFolder) -> None:
    """Two projects of an index cannot both bring a file of one name: a page and an address would name two contents."""
    made.file("alice/dev", "foo", "1.0", "foo-bar-1.0.tar.gz", b"x")
    made.file("alice/dev", "foo-bar", "1.0", "foo-bar-1.0.tar.gz", b"y")
    assert "a file of this name already" in refused(read(made))
