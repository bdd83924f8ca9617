"""What is probably not meant in a policy that can be read: for `policy check` and reviewers. Pure.

Refused outright, and so not found here: unknown keys, names that nothing declares, rules that are never reached
because another is about the same names, and names that are compared in another spelling.
"""

from __future__ import annotations

from collections.abc import Iterator

from countermark.core.attestations.facts import LogKind
from countermark.core.policy.model import SLSA, Builder, Policy, Rule, Verifier


def lint(policy: Policy) -> list[str]:
    """Return sentences without full stops, each about one thing that is probably not meant."""
    return [*_unused(policy), *_trusted(policy), *(note for rule in policy.rules for note in _rule(policy, rule))]


def _unused(policy: Policy) -> Iterator[str]:
    builders = {name for rule in policy.rules for name in rule.builders}
    verifiers = {name for rule in policy.rules for name in rule.verifiers}
    for name in sorted(policy.builders.keys() - builders):
        yield f"builder {name} is named by no rule"
    for name in sorted(policy.verifiers.keys() - verifiers):
        yield f"verifier {name} is named by no rule"
    signers = [
        *(policy.builders[name] for name in sorted(builders)),
        *(policy.verifiers[name] for name in sorted(verifiers)),
    ]
    for name in sorted(policy.roots.keys() - {signer.root for signer in signers}):
        yield f"root {name} is used by no rule"
    for name in sorted(policy.keys.keys() - {signer.key for signer in signers}):
        yield f"key {name} is used by no rule"


def _trusted(policy: Policy) -> Iterator[str]:
    for name in sorted(policy.test_roots):
        yield f"root {name} may be a test instance's, whose identities anybody can have: never in production"
    named = [("builder", one) for one in policy.builders.values()]
    for kind, one in (*named, *(("verifier", one) for one in policy.verifiers.values())):
        if one.root is not None and one.issuer is None:
            yield f"{kind} {one.name} names no issuer: only certificates of a company's own authority fit"
        for address in (one.issuer, one.san.workflow if one.san else None, one.san and one.san.uri):
            if address and _host(address) != _host(address).lower():
                yield f"{kind} {one.name}: {address} has capital letters in its host, and certificates have none"


def _rule(policy: Policy, rule: Rule) -> Iterator[str]:
    where = f"rule {rule.words}"
    if rule.deny:
        return
    if not rule.attested and not rule.continuity:
        if _demands(rule):
            yield f"{where} demands nothing (attested: false), so its other demands are never looked at"
        elif rule.match == "*" and not rule.indexes:
            yield f"{where} takes everything that no other rule is about, without an attestation"
        return
    if rule.attested and rule.continuity:
        yield f"{where} demands an attestation of every file, so continuity adds nothing"
    provenance = [kind for kind in rule.predicates if kind in SLSA]
    if not provenance and not rule.verifiers:
        yield f"{where} takes no SLSA provenance, and pointers name nothing else: clients fetch what else a file has"
    if rule.min_level and len(provenance) < len(rule.predicates):
        yield f"{where}: min_level is not asked of predicates that are no SLSA provenance, and it takes one"
    if rule.max_age_days is not None and LogKind.NONE in rule.log_kinds and (rule.builders or not rule.verifiers):
        yield f"{where}: where nothing proves when it was signed (no log, no time stamp), max_age_days refuses"
    for builder in (policy.builders[name] for name in rule.builders):
        yield from _pair(where, rule, builder, only_provenance=len(provenance) == len(rule.predicates))
    for verifier in (policy.verifiers[name] for name in rule.verifiers):
        yield from _verified(where, rule, verifier)
    if rule.source is not None and _host(rule.source) != _host(rule.source).lower():
        yield f"{where}: {rule.source} has capital letters in its host, and certificates have none"


def _pair(where: str, rule: Rule, builder: Builder, *, only_provenance: bool) -> Iterator[str]:
    """Look at a builder under a rule that names it."""
    if only_provenance:
        if builder.level < rule.min_level:
            yield f"{where}: builder {builder.name} can never satisfy it: level {builder.level} of {rule.min_level}"
        if not builder.builder_ids or not builder.build_types:
            yield f"{where}: builder {builder.name} can never satisfy it: no builder_ids or no build_types"
    if builder.issuer is None and LogKind.NONE not in rule.log_kinds:
        yield f'{where}: what a key or an own authority signs is seldom in a log: write log: {{rekor: ["none"]}}'
    if rule.source is None:
        yield f"{where} takes whatever builder {builder.name} builds, of any repository: write source"
    elif not rule.source_refs and not _is_of(builder, rule.source):
        yield f"{where} takes any branch and tag of {rule.source} from builder {builder.name}: write source_refs"


def _verified(where: str, rule: Rule, verifier: Verifier) -> Iterator[str]:
    """Look at a verifier under a rule that names it."""
    if verifier.level < rule.min_level:
        yield f"{where}: verifier {verifier.name} can never satisfy it: level {verifier.level} of {rule.min_level}"
    if (rule.source is not None or rule.source_refs) and not verifier.policies:
        yield (
            f"{where}: verifier {verifier.name} can never satisfy it: a summary says nothing of the source; write "
            "policies, the sha256 of those of its policies that demand this source"
        )
    if verifier.key is not None and LogKind.NONE not in rule.log_kinds:
        told = 'write log: {rekor: ["none"]}'
        yield f"{where}: what verifier {verifier.name} signs with a key is seldom in a log: {told}"


def _demands(rule: Rule) -> bool:
    plain = Rule(rule.match, rule.indexes, attested=False)
    return rule != plain


def _is_of(builder: Builder, source: str) -> bool:
    """Return whether a builder's workflow lies in the source itself: its refs are then the source's."""
    return builder.san is not None and (builder.san.workflow or "").startswith(f"{source}/")


def _host(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    return scheme + separator + rest.partition("/")[0]
