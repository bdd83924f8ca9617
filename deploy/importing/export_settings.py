"""Reads accounts and index configurations of a devpi export, and gathers what cannot come in as it is. Pure.

Source: contract devpi sections 4.2, 4.3, 5 and 6; the exports of devpi-server 6.20.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from countermark.core.names import IndexName, InvalidName, parse_index_name, parse_owner, parse_project_name
from deploy.importing.export_rows import Finding
from deploy.importing.report import NOTE
from gateway.importing import ImportedAccount, ImportedIndex
from shared.auth.passwords import is_usable_hash
from shared.auth.principal import ANONYMOUS, AUTHENTICATED, Grant, Verb
from shared.reading.resolution import EVERYTHING

_TOLD = Callable[[Finding], None]

MAX_TEXT = 10_000
"""Characters of a title or a description."""

MAX_CUSTOM_DATA = 64 << 10
"""Bytes of `custom_data` as JSON."""

MOST_SUBJECTS, MOST_BASES, MOST_WHITELISTED = 500, 200, 10_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""When an account was made whose export does not say it: as devpi's own import has it."""

_USER_KEYS = frozenset(
    {"username", "pwhash", "pwsalt", "email", "title", "description", "custom_data", "created", "modified"}
)
_COMMON = frozenset({"type", "volatile", "title", "description", "custom_data"})
_STAGE = _COMMON | {
    *("bases", "acl_upload", "acl_toxresult_upload", "mirror_whitelist", "mirror_whitelist_inheritance"),
    "pypi_whitelist",
}
_MIRROR = _COMMON | {
    *("mirror_url", "mirror_cache_expiry", "mirror_web_url_fmt", "mirror_use_external_urls", "mirror_no_project_list"),
    *("mirror_ignore_serial_header", "mirror_provides_core_metadata"),
    # Exports of old servers have these on every index.
    *("bases", "acl_upload", "acl_toxresult_upload", "mirror_whitelist", "mirror_whitelist_inheritance"),
    "pypi_whitelist",
}
_FORGOTTEN = {"uploadtrigger_jenkins"}
"""What old servers wrote and their successors drop when it is empty."""

_GROUP = re.compile(r":[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Renames:
    """What is to be called otherwise here: accounts `old=new`, indexes `old/index=new/index`."""

    names: Mapping[str, str]

    def account(self, name: str) -> str:
        """Return an account's name here."""
        return self.names.get(name, name)

    def index(self, name: str) -> str:
        """Return an index's name here."""
        owner, slash, rest = name.strip("/").partition("/")
        return self.names.get(name, f"{self.account(owner)}{slash}{rest}")


def account_of(name: str, raw: Mapping[str, Any], renames: Renames, tell: _TOLD) -> ImportedAccount | None:
    """Return an account, None when it cannot be one here; what is wrong is told."""
    try:
        owner = parse_owner(renames.account(name))
    except InvalidName as error:
        why = f"{error.reason}; give it another name with --rename {name}=NAME."
        tell(Finding("account", name, why))
        return None
    _tell_unknown("account", name, raw, _USER_KEYS, tell)
    pwhash = raw.get("pwhash")
    if pwhash and not (isinstance(pwhash, str) and not raw.get("pwsalt") and is_usable_hash(pwhash)):
        why = "its password is kept in a form that is not argon2: it comes without, so give it one with "
        tell(Finding("account", name, f"{why}countermark-server user passwd {owner}.", NOTE))
        pwhash = None
    profile = {key: raw[key] for key in ("title", "description") if _is_text(raw.get(key), name, key, tell)}
    if _is_data(raw.get("custom_data"), "account", name, tell):
        profile["custom_data"] = raw["custom_data"]
    email = raw.get("email")
    if email is not None and not (isinstance(email, str) and len(email) <= 320 and email.isprintable()):
        tell(Finding("account", name, "its e-mail address cannot be kept; it comes without.", NOTE))
        email = None
    created = _moment(raw.get("created")) or _EPOCH
    return ImportedAccount(owner, pwhash or None, email or None, profile, created, _moment(raw.get("modified")))


def index_of(name: str, raw: Mapping[str, Any], renames: Renames, public: bool, tell: _TOLD) -> ImportedIndex | None:
    """Return an index, None when it cannot be one here; what is wrong is told."""
    try:
        here = parse_index_name(renames.index(name))
    except InvalidName as error:
        tell(Finding("index", name, f"{error.reason}; give it another name with --rename {name}=OWNER/NAME."))
        return None
    kind = raw.get("type", "stage")
    if kind not in ("stage", "mirror"):
        tell(
            Finding("index", name, f"its type {kind!r:.40} is neither stage nor mirror; leave it out with --skip-bad.")
        )
        return None
    raw = {key: value for key, value in raw.items() if not (key in _FORGOTTEN and not value)}
    _tell_unknown("index", name, raw, _MIRROR if kind == "mirror" else _STAGE, tell)
    settings = {key: raw[key] for key in ("title", "description") if _is_text(raw.get(key), name, key, tell)}
    if _is_data(raw.get("custom_data"), "index", name, tell):
        settings["custom_data"] = raw["custom_data"]
    volatile = raw.get("volatile", True) is True
    if kind == "mirror":
        settings |= {key: value for key, value in raw.items() if key.startswith("mirror_") and _is_mirror_value(value)}
        settings = {key: value for key, value in settings.items() if not key.startswith("mirror_whitelist")}
        if "@" in str(settings.get("mirror_url", "")).partition("://")[2].partition("/")[0]:
            tell(Finding("setting", f"{name} mirror_url", "it holds a user and password, which are not kept.", NOTE))
            scheme, _, rest = str(settings["mirror_url"]).partition("://")
            host, slash, path = rest.partition("/")
            settings["mirror_url"] = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
        everything = frozenset(Grant(here.owner, verb) for verb in Verb)
        return ImportedIndex(here, "mirror", public, volatile, settings, (), everything)
    settings["mirror_whitelist"] = _whitelist(name, raw, tell)
    # Configurations from before the option was there count as a union (contract devpi section 15).
    inheritance = raw.get("mirror_whitelist_inheritance", "union")
    settings["mirror_whitelist_inheritance"] = "union" if inheritance == "union" else "intersection"
    grants = _grants(here, name, raw, renames, settings, tell) | _readers(here, raw, renames, public)
    return ImportedIndex(here, "stage", public, volatile, settings, _bases(name, raw, renames, tell), frozenset(grants))


def _grants(
    here: IndexName, name: str, raw: Mapping[str, Any], renames: Renames, settings: dict[str, Any], tell: _TOLD
) -> set[Grant]:
    """Read who may do what: an owner configures and removes, uploads only when the list says so.

    Source: contract devpi section 6 (permissions).
    """
    found = {Grant(here.owner, verb) for verb in (Verb.READ, Verb.REMOVE, Verb.APPROVE, Verb.CONFIGURE)}
    for option, verbs, default in (
        ("acl_upload", (Verb.UPLOAD, Verb.REMOVE), [here.owner]),
        ("acl_toxresult_upload", (Verb.TEST_RESULT,), [AUTHENTICATED]),
    ):
        subjects = _subjects(name, option, raw.get(option, default), renames, tell)
        settings[option] = subjects
        found |= {Grant(subject, verb) for subject in subjects for verb in verbs}
    return found


def _subjects(name: str, option: str, value: Any, renames: Renames, tell: _TOLD) -> list[str]:
    given = value if isinstance(value, list) else []
    if not isinstance(value, list) or len(given) > MOST_SUBJECTS:
        tell(Finding("setting", f"{name} {option}", f"it is no list of at most {MOST_SUBJECTS} names."))
    found: list[str] = []
    for subject in given[:MOST_SUBJECTS]:
        if subject == ANONYMOUS:
            why = "what everyone could do unknown, everyone who is signed in can do here."
            tell(Finding("setting", f"{name} {option}", why, NOTE))
            subject = AUTHENTICATED
        if not isinstance(subject, str) or not _is_subject(renames.account(subject)):
            tell(Finding("setting", f"{name} {option}", f"{subject!r:.80} names no account and no :group."))
        elif renames.account(subject) not in found:
            found.append(renames.account(subject))
    return found


def _readers(here: IndexName, raw: Mapping[str, Any], renames: Renames, public: bool) -> set[Grant]:
    """Return who may read a private index: whoever may upload to it, and its owner."""
    if public:
        return set()
    named = raw.get("acl_upload")
    uploaders = [renames.account(one) for one in named if isinstance(one, str)] if isinstance(named, list) else []
    wanted = {here.owner, *(AUTHENTICATED if one == ANONYMOUS else one for one in uploaders if _is_subject(one))}
    return {Grant(subject, Verb.READ) for subject in wanted}


def _is_subject(text: str) -> bool:
    if text in (ANONYMOUS, AUTHENTICATED) or _GROUP.match(text):
        return True
    try:
        parse_owner(text)
    except InvalidName:
        return False
    return True


def _bases(name: str, raw: Mapping[str, Any], renames: Renames, tell: _TOLD) -> list[IndexName]:
    given = raw.get("bases") or []
    if not isinstance(given, list) or len(given) > MOST_BASES:
        tell(Finding("setting", f"{name} bases", f"it is no list of at most {MOST_BASES} indexes."))
        return []
    found: list[IndexName] = []
    for base in given:
        try:
            here = parse_index_name(renames.index(str(base)))
        except InvalidName:
            tell(Finding("setting", f"{name} bases", f"{base!r:.140} cannot be the name of an index here."))
            continue
        if here not in found:
            found.append(here)
    return found


def _whitelist(name: str, raw: Mapping[str, Any], tell: _TOLD) -> list[str]:
    given = raw.get("mirror_whitelist", raw.get("pypi_whitelist", []))
    if not isinstance(given, list) or len(given) > MOST_WHITELISTED:
        tell(Finding("setting", f"{name} mirror_whitelist", f"it is no list of at most {MOST_WHITELISTED} names."))
        return []
    found = []
    for project in given:
        try:
            found.append(EVERYTHING if project == EVERYTHING else parse_project_name(str(project)))
        except InvalidName:
            tell(Finding("setting", f"{name} mirror_whitelist", f"{project!r:.80} cannot be a project's name."))
    return found


def _tell_unknown(kind: str, name: str, raw: Mapping[str, Any], known: frozenset[str], tell: _TOLD) -> None:
    for key in sorted(raw.keys() - known):
        why = f"the key {key[:60]!r} is not known here; leave it out with --skip-bad."
        tell(Finding(kind, name, why))


def _is_text(value: Any, name: str, key: str, tell: _TOLD) -> bool:
    if value is None or value == "":
        return False
    if isinstance(value, str) and len(value) <= MAX_TEXT and "\0" not in value:
        return True
    tell(Finding("setting", f"{name} {key}", f"it is no text of at most {MAX_TEXT} characters."))
    return False


def _is_data(value: Any, kind: str, name: str, tell: _TOLD) -> bool:
    if value is None:
        return False
    written = orjson.dumps(value)
    if len(written) <= MAX_CUSTOM_DATA and b"\\u0000" not in written:
        return True
    tell(Finding(kind, name, f"its custom_data has more than {MAX_CUSTOM_DATA} bytes, or a null character."))
    return False


def _is_mirror_value(value: Any) -> bool:
    return isinstance(value, bool | int) or (isinstance(value, str) and len(value) <= 2000 and value.isprintable())


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
