"""Whatever one file of a repository becomes, a run ends with a code of the contract, and the next honest one with 0.

Source: trust contract sections 1.1 ("any failure ... must leave a usable cache") and 3.3.
"""

from __future__ import annotations

import shutil

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.simulator import RepositorySimulator
from tests.unit.client.conftest import WHEEL, Client

_PIECES = st.sampled_from(
    [b"", b"{}", b"null", b"-1", b"1e999", b"9" * 400, b'"\\ud800"', b'"', b"\x00", b"\xff", b"[" * 3000, b'{"signed":']
)
_TABLE = {0, 10, 11, 20, 21, 22, 23, 30, 31, 40, 41, 50, 51, 52, 60, 61, 62, 70}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_of_any_file(sim: RepositorySimulator, client: Client, data: st.DataObject) -> None:
    """A piece of any file replaced by nothing, by noise or by JSON of another shape: no traceback, no file unproven."""
    honest = dict(sim.objects)
    key = data.draw(st.sampled_from(sorted(honest)))
    begin = data.draw(st.integers(0, len(honest[key])))
    end = begin + data.draw(st.integers(0, 200))
    damaged = honest[key][:begin] + data.draw(_PIECES) + honest[key][end:]
    for folder in ("cache", "dest"):
        if data.draw(st.booleans()):
            shutil.rmtree(client.home / folder, ignore_errors=True)
    sim.objects[key] = damaged
    outcome = client.get()
    sim.objects = honest
    assert outcome.code in _TABLE
    assert len(outcome.placed) == (outcome.code == 0)
    assert not (client.dest / WHEEL).exists() or (client.dest / WHEEL).read_bytes() == b"the real wheel\n"
    assert set(client.left_behind()) <= {WHEEL}
    assert client.get().code == 0
