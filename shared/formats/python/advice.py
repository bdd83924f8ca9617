"""What an uploader should know of core metadata that are taken all the same. Pure.

On a public index these would be refusals; a private one takes them and says so.
Source: python-index contract sections 2.3 ("Metadata rules") and 2.5 (point 6).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trove_classifiers import classifiers, deprecated_classifiers

from shared.formats.archive import Issues, quoted
from shared.formats.python.description import description_fault

_PRIVATE = "Private ::"
"""Beginning of classifiers that keep a project off public indexes, which is their point and no mistake."""


def advice(fields: Mapping[str, Any], source: str) -> tuple[str, ...]:
    """Return a sentence for a description that does not render, and for each classifier that nobody knows, or that has
    a successor. Takes CPU time: run it off the event loop.

    Args:
        fields: `packaging.metadata.RawMetadata` keys.
        source: the file's name for messages, `METADATA` or `PKG-INFO`.
    """
    found = Issues()
    fault = description_fault(fields)
    if fault is not None:
        found.add(f"{source}: the description does not render {fault}. It is shown as plain text.")
    for classifier in fields.get("classifiers", ()):
        if classifier in deprecated_classifiers:
            successors = " or ".join(map(quoted, deprecated_classifiers[classifier]))
            found.add(f"{source}: the classifier {quoted(classifier)} is deprecated; {_instead(successors)}.")
        elif classifier not in classifiers and not classifier.startswith(_PRIVATE):
            found.add(f"{source}: the classifier {quoted(classifier)} is not a known one.")
    return found.sentences()


def _instead(successors: str) -> str:
    return f"use {successors}" if successors else "leave it out"
