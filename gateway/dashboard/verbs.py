"""What can be done to an index, in words for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from shared.auth.principal import Verb

VERBS: Mapping[Verb, str] = {
    Verb.READ: "download files and read pages",
    Verb.UPLOAD: "upload files, yank and un-yank",
    Verb.TEST_RESULT: "upload results of tests",
    Verb.REMOVE: "remove files and releases",
    Verb.APPROVE: "approve what waits for it",
    Verb.CONFIGURE: "change a project's status and the index's settings and rights",
}
"""Verb -> what it lets somebody do, in the order of `Verb`."""

ADMINISTRATES = "administrate this deployment: accounts, sign-in links, jobs"
"""What `configure` lets somebody do beside that on the default index."""

TOKEN_VERBS = (Verb.READ, Verb.UPLOAD, Verb.REMOVE, Verb.CONFIGURE)
"""What the form for a token offers: the rest is for services that make theirs by the API."""
