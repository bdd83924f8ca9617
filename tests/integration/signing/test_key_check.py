"""Readiness of the signing service as far as its keys go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from countermark.core.signing.access import KeyAccess
from countermark.core.signing.faults import KeyUnusable, TokenAway
from services.signing.keys.readiness import KeyCheck
from services.signing.keys.signers import ONLINE, KeyHandle
from shared.http import NotReady
from shared.resources import Resources


async def test_a_slow_key_service_is_asked_once(resources: Resources) -> None:
    """Checks that give up do not begin anew: the first try goes on, and what it found is what the next check says."""
    tries: list[Sequence[KeyHandle]] = []
    go_on = threading.Event()

    def load(handles: Sequence[KeyHandle], access: KeyAccess) -> None:
        tries.append(handles)
        assert go_on.wait(20)

    check = KeyCheck(resources, load)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await check()
    go_on.set()
    await check()
    await check()
    assert [{handle.role for handle in handles} for handles in tries] == [set(ONLINE)]


@pytest.mark.parametrize(("fault", "passing"), [(TokenAway("it is away"), True), (KeyUnusable("it is wrong"), False)])
async def test_what_may_pass_is_told_apart(resources: Resources, fault: KeyUnusable, passing: bool) -> None:
    """A start waits for a token that is away, and ends where a person has to do something; then it is tried again."""

    def load(handles: Sequence[KeyHandle], access: KeyAccess) -> None:
        raise fault.about("key 0123 of role bins")

    check = KeyCheck(resources, load)
    for _ in range(2):
        with pytest.raises(NotReady, match="key 0123 of role bins cannot be used: it is") as caught:
            await check()
        assert caught.value.passing is passing


async def test_keys_of_people_may_be_away(resources: Resources, tmp_path: Path) -> None:
    """A signer needs the keys of bins, snapshot and timestamp; the others' files can be taken off the machine."""
    for file in (tmp_path / "keys").iterdir():
        if file.name.partition("-")[0] not in ONLINE:
            file.unlink()
    assert len(list((tmp_path / "keys").iterdir())) == len(ONLINE)
    await KeyCheck(resources)()
