"""What is written and read without the library's copies is what the library writes and reads."""

from copy import deepcopy
from datetime import UTC, datetime

import pytest
from tuf.api.metadata import Metadata, Snapshot, Targets

from countermark.core.digest import Length, Sha256
from countermark.core.names import TargetPath, parse_index_name
from shared.trust.metadata import Entries, TargetEntry, bin_metadata, read_bin, set_target, snapshot_metadata

_MORE = b'{"signed":{"_type":"targets","expires":"","spec_version":"","targets":{},"version":1,"delegations":{}}}'

EXPIRES = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_snapshot_lists_shared_roles_and_bins_as_the_library_reads_them() -> None:
    """Bins by version only, the others with length and digest too, and its index; written by the library, the same."""
    shared = {name: (number, name.encode()) for number, name in enumerate(("targets", "trust", "registry"), start=1)}
    named = parse_index_name("alice/dev")
    written = snapshot_metadata(named, {"b8-00": 7, "b8-ff": 3}, shared, 9, EXPIRES).signed.to_dict()
    read = Snapshot.from_dict(deepcopy(written))
    assert {name: file.version for name, file in read.meta.items()} == {
        "targets.json": 1,
        "trust.json": 2,
        "registry.json": 3,
        "b8-00.json": 7,
        "b8-ff.json": 3,
    }
    assert read.meta["registry.json"].length == len(b"registry")
    assert read.meta["b8-00.json"].length is None
    assert read.unrecognized_fields == {"x-countermark-index": "alice/dev"}
    assert read.to_dict() == written


def test_a_bin_is_written_and_read_as_the_library_does() -> None:
    """All targets with their kind, version and expiry; read to be signed anew, all targets are there."""
    entries: Entries = {}
    for number in range(3):
        path = TargetPath(f"pointers/p{number}/_simple.json")
        set_target(entries, TargetEntry(path, Sha256(f"{number:064x}"), Length(number), "page/v1"))
    content = bin_metadata(4, EXPIRES, entries).to_bytes()
    read = Metadata[Targets].from_bytes(content).signed
    assert (read.version, read.expires) == (4, EXPIRES)
    assert read.to_dict()["targets"] == entries
    assert read.targets["pointers/p2/_simple.json"].unrecognized_fields == {"custom": {"kind": "page/v1"}}
    assert read_bin(content) == entries


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"signed":[]}', b'{"signed":{"_type":"targets"}}', _MORE])
def test_what_is_no_bin_is_refused(content: bytes) -> None:
    """Damaged rows of the catalogue are an error that can be caught as one."""
    with pytest.raises(ValueError, match="no targets metadata"):
        read_bin(content)
