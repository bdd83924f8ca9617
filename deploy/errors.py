"""The one error of the launcher: a sentence for the person at the terminal."""

from __future__ import annotations


class LaunchError(Exception):
    """Something cannot be started or done; the message is one line that says what to do. Exit code 1."""


class UsageError(LaunchError):
    """The command line or the configuration is wrong; the message is one line per fault. Exit code 2."""
