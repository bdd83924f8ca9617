"""The files that lie beside a distribution, by what their names end with."""

from __future__ import annotations

STATEMENT = ".statement.json"
"""What is known of a build, unsigned."""

BUNDLE = ".sigstore.json"
"""A signed statement, as a Sigstore bundle."""

ATTESTATION = ".attestation"
"""The same as a PEP 740 attestation object, where uploaders of other makers look for it."""

ALL = (".pointer", STATEMENT, BUNDLE, ATTESTATION)
"""All of them: `dist/*` names them too, and none is uploaded as a file of its own."""
