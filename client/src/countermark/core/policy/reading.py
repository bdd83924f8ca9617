"""From bytes to a policy: strict, bounded, with one meaning. Pure.

1. YAML as plain as a pointer's (`plain_yaml`): every scalar is text.
2. Known keys only: an ignored one would demand too little without a word.
3. Every name that is used is declared; every pattern is one; every rule either denies, demands or says it does not.
4. Of two rules about the same names in the same index one would never be reached: refused.

Source: trust contract section 4 ("Policy file"); ADR 0038.
"""

from __future__ import annotations

from collections.abc import Mapping

from countermark.core.attestations.facts import LogKind
from countermark.core.attestations.summary import OWN_RESOURCE, SUMMARY
from countermark.core.ceremony.tree import is_trust_target
from countermark.core.digest import Sha256, parse_sha256
from countermark.core.names import InvalidName, parse_index_name, parse_project_name
from countermark.core.plain_yaml import NotPlain, read_plain
from countermark.core.policy.fields import Fields, InvalidPolicy
from countermark.core.policy.model import MAX_LEVEL, SLSA, USUAL_LOGS, Builder, Policy, Rule, San, Signer, Verifier
from countermark.core.policy.named_keys import InvalidKey, key_id
from countermark.core.policy.patterns import check_ref_pattern

SCHEMA = "policy/v1"

MAX_POLICY_BYTES = 256 << 10
"""Bytes. Two thousand rules of a hundred and thirty bytes."""

MAX_RULES, MAX_BUILDERS, MAX_VERIFIERS, MAX_ROOTS, MAX_KEYS = 2000, 500, 64, 16, 64
MAX_AGE_DAYS = 36500

_TOP = ("schema", "roots", "test_roots", "keys", "builders", "verifiers", "packages")
_SIGNER = ("root", "issuer", "san", "key", "level")
_BUILDER = (*_SIGNER, "builder_ids", "build_types")
_VERIFIER = (*_SIGNER, "verifier_id", "resource_uris", "policies")
_SAN = ("workflow", "refs", "uri", "email")
_DEMANDS = ("builders", "verifiers", "source", "source_refs", "predicates", "min_level", "log", "continuity")
_RULE = ("match", "indexes", "deny", "attested", *_DEMANDS)
_LOG = ("rekor", "max_age_days")


def parse_policy(data: bytes) -> Policy:
    """Parse a policy file.

    Args:
        data: the document, at most `MAX_POLICY_BYTES`.

    Raises:
        InvalidPolicy: it is none; the message says where, and what to write instead.
    """
    try:
        document = read_plain(data, MAX_POLICY_BYTES, max_depth=6)
    except NotPlain as error:
        raise InvalidPolicy(str(error)) from error
    top = Fields.of(document, "", _TOP)
    if top.values.get("schema") != SCHEMA:
        raise InvalidPolicy(f'schema must be "{SCHEMA}"')
    roots = _roots(top)
    keys, key_ids = _keys(top)
    builders = {
        name: _builder(name, Fields.of(thing, where, _BUILDER), roots, keys)
        for name, where, thing in top.named("builders", MAX_BUILDERS)
    }
    verifiers = {
        name: _verifier(name, Fields.of(thing, where, _VERIFIER), roots, keys)
        for name, where, thing in top.named("verifiers", MAX_VERIFIERS)
    }
    rules = _rules(top, builders, verifiers)
    return Policy(roots, _test_roots(top, roots), keys, key_ids, builders, verifiers, rules)


def _roots(top: Fields) -> dict[str, str]:
    roots: dict[str, str] = {}
    for name, where, path in top.named("roots", MAX_ROOTS):
        if is_trust_target(name):
            raise InvalidPolicy(f"{where}: give the root a name that is no target path")
        if not isinstance(path, str) or not is_trust_target(path) or not _is_root(path):
            raise InvalidPolicy(f'{where} must be a target path: "trusted_root.json" or "trust/NAME.trusted_root.json"')
        if path in roots.values():
            raise InvalidPolicy(f"{where}: {path} has two names; keep one")
        roots[name] = path
    return roots


def _is_root(path: str) -> bool:
    return path == "trusted_root.json" or (path.startswith("trust/") and path.endswith(".json"))


def _test_roots(top: Fields, roots: Mapping[str, str]) -> frozenset[str]:
    named = top.texts("test_roots")
    for name in named:
        _declared(name, roots, top.at("test_roots"), "roots")
    return frozenset(named)


def _keys(top: Fields) -> tuple[dict[str, str], dict[str, str]]:
    pems: dict[str, str] = {}
    ids: dict[str, str] = {}
    for name, where, pem in top.named("keys", MAX_KEYS):
        try:
            found = key_id(pem if isinstance(pem, str) else "")
        except InvalidKey as error:
            raise InvalidPolicy(f"{where}: {error}") from error
        if found in ids.values():
            raise InvalidPolicy(f"{where}: this key has two names; keep one")
        pems[name], ids[name] = str(pem), found
    return pems, ids


def _builder(name: str, fields: Fields, roots: Mapping[str, str], keys: Mapping[str, str]) -> Builder:
    signer = _signer(name, fields, roots, keys)
    return Builder(
        name,
        signer.root,
        signer.issuer,
        signer.san,
        signer.key,
        signer.level,
        builder_ids=fields.texts("builder_ids"),
        build_types=fields.texts("build_types"),
    )


def _verifier(name: str, fields: Fields, roots: Mapping[str, str], keys: Mapping[str, str]) -> Verifier:
    signer = _signer(name, fields, roots, keys)
    return Verifier(
        name,
        signer.root,
        signer.issuer,
        signer.san,
        signer.key,
        signer.level,
        verifier_id=fields.text("verifier_id"),
        resource_uris=fields.checked("resource_uris", _resource) or (OWN_RESOURCE,),
        policies=tuple(Sha256(one) for one in fields.checked("policies", _digest)),
    )


def _signer(name: str, fields: Fields, roots: Mapping[str, str], keys: Mapping[str, str]) -> Signer:
    level = fields.number("level", 0, MAX_LEVEL) or 0
    if fields.has("key"):
        if any(fields.has(other) for other in ("root", "issuer", "san")):
            raise InvalidPolicy(f"{fields.where}: a key has no root, issuer or san; write either key or those")
        key = _declared(fields.text("key"), keys, fields.at("key"), "keys")
        return Signer(name, key=key, level=level)
    if not fields.has("root") or not fields.has("san"):
        raise InvalidPolicy(f"{fields.where}: write root, issuer and san, or key")
    root = _declared(fields.text("root"), roots, fields.at("root"), "roots")
    issuer = fields.text("issuer") if fields.has("issuer") else None
    return Signer(name, root, issuer, _san(fields), level=level)


def _resource(text: str) -> str:
    """Return a text by which a verifier names files: one that can name no two files of a release alike.

    Raises:
        ValueError: it names no file, or has other braces.
    """
    if "{file}" not in text:
        raise ValueError(f"{text[:100]!r} would name every file alike: write {{file}} where its name stands")
    rest = text
    for place in ("{index}", "{project}", "{version}", "{file}"):
        rest = rest.replace(place, "")
    if set("{}") & set(rest):
        raise ValueError(
            f"{text[:100]!r}: {{index}}, {{project}}, {{version}} and {{file}} are all that may be in braces"
        )
    return text


def _digest(text: str) -> str:
    """Return a sha256 as statements have it: without a prefix.

    Raises:
        ValueError: it is none.
    """
    if parse_sha256(text) != text:
        raise ValueError(f"{text[:100]!r}: write the 64 digits alone")
    return text


def _san(signer: Fields) -> San:
    san = Fields.of(signer.values.get("san"), signer.at("san"), _SAN)
    if sum(san.has(kind) for kind in ("workflow", "uri", "email")) != 1:
        raise InvalidPolicy(f"{san.where}: write one of workflow (with refs), uri or email")
    if not san.has("workflow"):
        if san.has("refs"):
            raise InvalidPolicy(f"{san.at('refs')}: only a workflow has refs")
        if san.has("uri"):
            return San(uri=san.text("uri"))
        if "@" not in (email := san.text("email")):
            raise InvalidPolicy(f"{san.at('email')} is no e-mail address")
        return San(email=email)
    workflow, refs = san.text("workflow"), san.checked("refs", check_ref_pattern)
    if "@" in workflow or "*" in workflow:
        raise InvalidPolicy(f"{san.at('workflow')}: write it without '@' and '*'; the refs go into {san.at('refs')}")
    if not refs:
        raise InvalidPolicy(f'{san.at("refs")} is missing: write the refs of the workflow, as ["refs/tags/v*"]')
    return San(workflow=workflow, refs=refs)


def _rules(top: Fields, builders: Mapping[str, Builder], verifiers: Mapping[str, Verifier]) -> tuple[Rule, ...]:
    listed = top.values.get("packages")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_RULES:
        raise InvalidPolicy(f"packages must be a list of 1 to {MAX_RULES} rules, each with a match")
    rules: list[Rule] = []
    seen: dict[tuple[str, str], int] = {}
    for number, entry in enumerate(listed):
        rule = _rule(Fields.of(entry, f"packages[{number}]", _RULE), builders, verifiers)
        for index in rule.indexes or ("",):
            if (other := seen.setdefault((rule.match, index), number)) != number:
                raise InvalidPolicy(
                    f"packages[{number}] is never reached: packages[{other}] is about {rule.match!r}"
                    f"{' in ' + index if index else ''} too; make them one"
                )
        rules.append(rule)
    return tuple(sorted(rules, key=lambda rule: rule.weight, reverse=True))


def _rule(fields: Fields, builders: Mapping[str, Builder], verifiers: Mapping[str, Verifier]) -> Rule:
    match = _match(fields)
    indexes = fields.checked("indexes", lambda text: str(parse_index_name(text)))
    if fields.flag("deny", usual=False):
        if extra := [key for key in ("attested", *_DEMANDS) if fields.has(key)]:
            raise InvalidPolicy(f"{fields.where}: a rule that denies demands nothing; remove {', '.join(extra)}")
        return Rule(match, indexes, deny=True)
    attested = fields.flag("attested", usual=True)
    named, verifying = fields.texts("builders"), fields.texts("verifiers")
    for name in named:
        _declared(name, builders, fields.at("builders"), "builders")
    for name in verifying:
        _declared(name, verifiers, fields.at("verifiers"), "verifiers")
    if attested and not named and not verifying:
        raise InvalidPolicy(
            f"{fields.where}: name the builders whose attestation is taken, or verifiers, or write deny: true or "
            "attested: false"
        )
    if fields.has("predicates") and verifying and not named:
        raise InvalidPolicy(f"{fields.at('predicates')} is about builders, and the rule names none; remove it")
    kinds, max_age = _log(fields)
    return Rule(
        match,
        indexes,
        attested=attested,
        continuity=fields.flag("continuity", usual=False),
        builders=named,
        verifiers=verifying,
        source=_source(fields),
        source_refs=fields.checked("source_refs", check_ref_pattern),
        predicates=fields.checked("predicates", _predicate) or SLSA,
        min_level=fields.number("min_level", 0, MAX_LEVEL) or 0,
        log_kinds=kinds,
        max_age_days=max_age,
    )


def _match(fields: Fields) -> str:
    text = fields.text("match")
    if text == "*":
        return text
    name = text.removesuffix("-*")
    try:
        normalised = parse_project_name(name)
    except InvalidName as error:
        raise InvalidPolicy(
            f"{fields.at('match')}: {text!r} matches nothing: write a project's name, PREFIX-* or *"
        ) from error
    if normalised != name:
        wanted = normalised + text[len(name) :]
        raise InvalidPolicy(f"{fields.at('match')}: {text!r} would match nothing; names are compared as {wanted!r}")
    return text


def _source(fields: Fields) -> str | None:
    if not fields.has("source"):
        return None
    source = fields.text("source")
    scheme, separator, rest = source.partition("://")
    if not separator or not scheme or not rest or source.endswith("/") or set("@?#*") & set(source):
        raise InvalidPolicy(
            f"{fields.at('source')}: write the repository's address without a trailing '/', user, query or ref, "
            "as https://host/owner/repository"
        )
    return source


def _predicate(text: str) -> str:
    """Return a type of statement; of SLSA's those alone whose content is read, since all else is taken unread."""
    if text == SUMMARY:
        raise InvalidPolicy(f"{text} is taken of verifiers alone: name them in verifiers")
    if text.startswith("https://slsa.dev/") and text not in SLSA:
        raise InvalidPolicy(f"{text[:100]} is not read here: of SLSA's write {' or '.join(SLSA)}")
    return text


def _log(fields: Fields) -> tuple[tuple[LogKind, ...], int | None]:
    if not fields.has("log"):
        return USUAL_LOGS, None
    log = Fields.of(fields.values.get("log"), fields.at("log"), _LOG)
    kinds: list[LogKind] = []
    for text in log.texts("rekor"):
        try:
            kinds.append(LogKind(text))
        except ValueError as error:
            raise InvalidPolicy(f"{log.at('rekor')}: {text!r} is no kind of log: write v1, v2 or none") from error
    return tuple(kinds) or USUAL_LOGS, log.number("max_age_days", 1, MAX_AGE_DAYS)


def _declared(name: str, known: Mapping[str, object], where: str, section: str) -> str:
    if name not in known:
        raise InvalidPolicy(f"{where}: {name[:64]!r} is not declared in {section}")
    return name


__all__ = ["MAX_POLICY_BYTES", "SCHEMA", "InvalidPolicy", "parse_policy"]
