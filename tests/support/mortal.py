"""`countermark-server` as a process that ends at a fault point: `python -m tests.support.mortal POINT NTH ACT ARGS...`.

Everything is the program's own but the listener: no code of the server knows of it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from deploy.launch import main
from shared import faults
from shared.faults import FaultPoint

ACTS = {"kill": signal.SIGKILL, "pause": signal.SIGSTOP}
"""What may be done at a point: die at once, or stand still until SIGCONT."""


class Mortal:
    """Does something to its own process when a point is reached for the nth time; then it goes on unharmed."""

    def __init__(self, point: FaultPoint, nth: int, act: signal.Signals) -> None:
        self._point = point
        self._left = nth
        self._act = act

    def __call__(self, point: FaultPoint) -> None:
        """Count the point, and act when it is its turn."""
        if point is not self._point or self._left == 0:
            return
        self._left -= 1
        if self._left == 0:
            # Standard error, at once and unbuffered: the last sign of life.
            os.write(2, f"fault point {point} reached\n".encode())
            os.kill(os.getpid(), self._act)


if __name__ == "__main__":
    faults.listen(Mortal(FaultPoint(sys.argv[1]), int(sys.argv[2]), ACTS[sys.argv[3]]))
    sys.argv[0] = str(Path(sys.executable).with_name("countermark-server"))
    main(sys.argv[4:])
