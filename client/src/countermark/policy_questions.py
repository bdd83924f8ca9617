"""What a policy says of a file: the rule that is about it, what that demands, and, of bundles, the verdict.

Source: trust contract sections 3.3 and 4; ADR 0038.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES
from countermark.core.attestations.judgements import JudgedFile, Judgement
from countermark.core.attestations.trust_material import MAX_ROOT_BYTES, BadTrustMaterial, TrustMaterial
from countermark.core.digest import Sha256, measure
from countermark.core.errors import PolicyUnusable, UsageFault
from countermark.core.filenames import parse_distribution
from countermark.core.names import InvalidName
from countermark.core.policy import MAX_POLICY_BYTES, InvalidPolicy, Policy, parse_policy
from countermark.core.policy.wording import about, rule_in_words
from countermark.credentials import Notify
from countermark.further import Further
from countermark.requirements import parse_requirement
from countermark.transport import CHUNK

ANY_INDEX = "any index"
"""In the place of an index, where no rule asks for one."""


@dataclass(frozen=True, slots=True)
class Question:
    """What files are asked about.

    Attributes:
        material: the policy, and the roots that are there to verify bundles with.
        policy: what `material.policy` says; None where none is signed.
        index: `owner/name`, or `ANY_INDEX`.
        bundles: each is tried for each file.
        further: returns what else may be had of a file, where nobody gave bundles; None where nobody is to be asked.
    """

    material: TrustMaterial
    policy: Policy | None
    index: str
    bundles: tuple[bytes, ...] = ()
    further: Callable[[JudgedFile], Further] | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """What a policy says of one file or release.

    Attributes:
        file: `file_name` and `sha256` are empty for a release.
        about: what the rule is about; says so where there is none.
        words: what it demands.
        judgement: of the bundles; None without any.
    """

    file: JudgedFile
    about: str
    words: tuple[str, ...]
    judgement: Judgement | None

    @property
    def exit_code(self) -> int:
        """0, or that of what failed."""
        return 0 if self.judgement is None else self.judgement.exit_code

    def to_document(self) -> dict[str, Any]:
        """Return this in JSON."""
        judged = None if self.judgement is None else self.judgement.to_document()
        fields: dict[str, Any] = {"index": self.file.index, "project": self.file.project, "version": self.file.version}
        fields |= {"file": self.file.file_name or None, "rule": self.about, "words": list(self.words)}
        return {**fields, "exit": self.exit_code, "judgement": judged}


def read_bounded(path: Path, most: int) -> bytes:
    """Return the bytes of a small file.

    Raises:
        UsageFault: it cannot be read, or has more than `most` bytes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise UsageFault(f"{path} cannot be read: {error.strerror}", "Name a file that is there.") from error
    if len(data) > most:
        raise UsageFault(f"{path} has more than {most} bytes", "Name the right file.")
    return data


def read_policy(path: Path) -> Policy:
    """Return the policy in a file.

    Raises:
        UsageFault: it cannot be read.
        PolicyUnusable: it is none.
    """
    return _parsed(read_bounded(path, MAX_POLICY_BYTES), str(path))


def question_of_files(
    policy_file: Path, root_files: Sequence[str], index: str | None, bundle_files: Sequence[Path]
) -> Question:
    """Return a question about a policy and roots in files.

    Args:
        root_files: `NAME=FILE` with a name of the policy's `roots`, or `FILE` for its only one.
        index: `owner/name`; None where the answer does not depend on it.

    Raises:
        UsageFault: a file cannot be read, a root has no such name, or the policy's rules depend on the index.
        PolicyUnusable: the policy is none.
    """
    data = read_bounded(policy_file, MAX_POLICY_BYTES)
    policy = _parsed(data, str(policy_file))
    if index is None and any(rule.indexes for rule in policy.rules):
        raise UsageFault(f"rules of {policy_file} are about certain indexes", "Say which one is meant: --index.")
    roots = dict(_root(policy, one) for one in root_files)
    bundles = tuple(read_bounded(path, MAX_BUNDLE_BYTES) for path in bundle_files)
    try:
        material = TrustMaterial(data, roots)
    except BadTrustMaterial as error:
        raise UsageFault(str(error), "Name the right files.") from error
    return Question(material, policy, index or ANY_INDEX, bundles)


def question_of_index(
    material: TrustMaterial, index: str, bundle_files: Sequence[Path], further: Callable[[JudgedFile], Further]
) -> Question:
    """Return a question about what the trust role of an index signs; `further` as `Question` has it.

    Raises:
        UsageFault: a bundle cannot be read.
        PolicyUnusable: the signed policy is none.
    """
    policy = None if material.policy is None else _parsed(material.policy, "what the trust role signs")
    bundles = tuple(read_bounded(path, MAX_BUNDLE_BYTES) for path in bundle_files)
    return Question(material, policy, index, bundles, further)


def explain_file(question: Question, what: str, notify: Notify) -> Explained:
    """Say what the policy demands of a local file or a release.

    Args:
        what: the path of a wheel or sdist under its name in the index, or `NAME==VERSION`.
        notify: is told what is neither result nor failure.

    Raises:
        UsageFault: it is neither, or bundles are given and it is no file.
    """
    path = Path(what)
    file = _of_path(question, path) if path.is_file() else _of_release(question, what, notify)
    if question.bundles and not file.file_name:
        raise UsageFault(f"{what} is no file here", "A bundle is about the bytes of one file: name it by its path.")
    judgement = _judge(question, file, question.bundles) if question.bundles else _of_further(question, file, notify)
    return Explained(file, *_demanded(question.policy, file), judgement)


def _parsed(data: bytes, what: str) -> Policy:
    try:
        return parse_policy(data)
    except InvalidPolicy as error:
        raise PolicyUnusable(f"{what} is no policy: {error}") from error


def _root(policy: Policy, text: str) -> tuple[str, bytes]:
    """Return the target path and the bytes of a root that is given as `NAME=FILE` or `FILE`."""
    name, equals, path = text.partition("=")
    if not equals and len(policy.roots) == 1:
        [name], path = policy.roots, text
    if name not in policy.roots:
        known = ", ".join(sorted(policy.roots)) or "none"
        raise UsageFault(f"{text!r} does not say which root it is", f"Write NAME=FILE; the policy has: {known}.")
    return policy.roots[name], read_bounded(Path(path), MAX_ROOT_BYTES)


def _of_path(question: Question, path: Path) -> JudgedFile:
    try:
        found = parse_distribution(path.name)
    except InvalidName as error:
        raise UsageFault(str(error), "Name a wheel or sdist under the name it has in the index.") from error
    try:
        with path.open("rb") as file:
            measured = measure(iter(lambda: file.read(CHUNK), b""))
    except OSError as error:
        raise UsageFault(f"{path} cannot be read: {error.strerror}", "Name a file that is there.") from error
    return JudgedFile(question.index, found.project, str(found.version), found.file_name, measured.sha256)


def _of_release(question: Question, what: str, notify: Notify) -> JudgedFile:
    wanted = parse_requirement(what, notify)
    if wanted is None or wanted.version is None:
        raise UsageFault(
            f"{what!r} is neither a file here nor a release", "Write the path of a file, or NAME==VERSION."
        )
    return JudgedFile(question.index, wanted.project, str(wanted.version), "", Sha256(""))


def _demanded(policy: Policy | None, file: JudgedFile) -> tuple[str, tuple[str, ...]]:
    if policy is None:
        return "no policy is signed", ("nothing is demanded; an attestation that the pointer names has to verify",)
    rule = policy.rule_for(file.index, file.project)
    if rule is None:
        return "no rule is about it", ("refused: what no rule is about is not taken",)
    words = tuple(line.replace("{version}", file.version) for line in rule_in_words(policy, rule))
    return f"the rule about {about(rule)}", words


def _of_further(question: Question, file: JudgedFile, notify: Notify) -> Judgement | None:
    """Return the judgement over what is to be had of a file of which the policy demands evidence; None without any."""
    rule = None if question.policy is None else question.policy.rule_for(file.index, file.project)
    if question.further is None or not file.file_name or rule is None or rule.deny or not rule.attested:
        return None
    found = question.further(file)
    for fault in found.faults:
        notify(f"not looked at: {fault}")
    if not found.bundles:
        notify(f"no attestation of {file.file_name} is to be had there")
        return None
    return _judge(question, file, found.bundles).for_clients(is_named=False)


def _judge(question: Question, file: JudgedFile, bundles: Sequence[bytes]) -> Judgement:
    # sigstore takes longer to load than all else together, and only a bundle needs it.
    from countermark.core.attestations.judging import judge  # noqa: PLC0415

    return judge(question.material, file, None, bundles, int(time.time()), None)
