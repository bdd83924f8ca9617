"""Becomes a server that ends when the process that started it ends. Run as a script, with the standard library alone.

It is a program of its own, not code between fork and exec, because the starting process has threads. Steps, in order:

1. leave root when a user is given; on demand keep the one capability that lets that user pass folders closed to it;
2. ask the kernel for a signal at the parent's death (Linux), or leave a watcher behind that sends it (elsewhere);
3. end at once when the parent is already gone;
4. become the server.

Source: infrastructure facts, "Embedded Postgres" (parent-death signal, `nobody` when started by root); Linux prctl(2),
capabilities(7): the parent-death signal is cleared when credentials change, so it is asked for after leaving root.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2


def main(arguments: Sequence[str]) -> None:
    """Do the steps of the module's docstring.

    Args:
        arguments: one JSON object with `parent` (process id), `signal`, `argv`, `watch` (a watcher instead of the
            kernel), and `user`: null or `[uid, gid, reach]`, `reach` for "may pass closed folders".
    """
    order = json.loads(arguments[0])
    death_signal = int(order["signal"])
    if order["user"] is not None:
        uid, gid, reach = order["user"]
        _leave_root(uid, gid, reach=reach)
    os.umask(0o077)
    if order["watch"]:
        _leave_watcher(death_signal)
    else:
        _checked(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0), "prctl")
    if os.getppid() != order["parent"]:
        sys.exit("the process that asked for a server is gone")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(order["argv"][0], order["argv"])  # noqa: S606 - no shell on purpose


def _leave_root(uid: int, gid: int, *, reach: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if reach and libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0) != 0:
        # Without this bit a check by access(2), as initdb makes it, does not count capabilities; the rest works.
        _checked(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl")
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if reach and not any(_keep_capability(libc, which) for which in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE)):
        sys.exit("no capability to pass folders that are closed to the server's user")


def _keep_capability(libc: ctypes.CDLL, which: int) -> bool:
    """Hold one capability across exec and no other; false when root itself did not have it."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bit = 1 << which
    # Effective, permitted, inheritable for capabilities 0 to 31, then the same for 32 to 63.
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    if libc.capset(header, sets) != 0:
        return False
    return bool(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, which, 0, 0) == 0)


def _leave_watcher(death_signal: int) -> None:
    """Fork a process that signals this one when the parent ends: the parent alone holds the other end of stdin."""
    server = os.getpid()
    if os.fork() != 0:
        return
    while os.getppid() == server:
        readable, _, _ = select.select([0], [], [], 1.0)
        if readable and not os.read(0, 1):
            os.kill(server, death_signal)
            break
    os._exit(0)


def _checked(result: int, call: str) -> None:
    if result != 0:
        sys.exit(f"{call} failed: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main(sys.argv[1:])
