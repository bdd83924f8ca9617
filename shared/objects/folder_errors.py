"""Errors of the file system, in the words of whoever can do something about them."""

from __future__ import annotations

import errno


def in_words(error: OSError) -> str:
    """Say what an operator can do about an error of the file system."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "the disk is full; make room or move the store to a larger one"
        case errno.EACCES | errno.EPERM:
            return "permission denied; the folder and all below it must belong to the account that runs the server"
        case errno.EROFS:
            return "the file system is mounted read-only"
        case errno.EMFILE | errno.ENFILE:
            return "too many open files; raise the limit (ulimit -n)"
        case _:
            return error.strerror or str(error)
