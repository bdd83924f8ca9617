"""Fetches one target with python-tuf as it is published: METADATA_URL TARGETS_URL ROOT FOLDER TARGET.

Prints the path of the verified file; ends with a traceback when anything does not hold.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tuf.ngclient import Updater


def main(metadata_url: str, targets_url: str, root: str, folder: str, target: str) -> None:
    """Refresh, find, download."""
    targets = Path(folder, "targets")
    targets.mkdir(parents=True, exist_ok=True)
    metadata, bootstrap = str(Path(folder, "metadata")), Path(root).read_bytes()
    updater = Updater(metadata, metadata_url, str(targets), targets_url, bootstrap=bootstrap)
    updater.refresh()
    info = updater.get_targetinfo(target)
    if info is None:
        sys.exit(f"no metadata list {target}")
    print(updater.download_target(info))


if __name__ == "__main__":
    main(*sys.argv[1:])
