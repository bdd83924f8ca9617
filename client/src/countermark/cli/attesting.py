"""`countermark attest`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from countermark.attesting.beside import ALL, ATTESTATION, BUNDLE
from countermark.attesting.faults import AttestFailed
from countermark.attesting.statements import Wanted, prepared_for, subject_of
from countermark.cli.connecting import JsonOption
from countermark.cli.keys import ModuleOption, SecretFileOption, key_access
from countermark.cli.screen import Screen
from countermark.core.attestations.bundle import read_bundle
from countermark.core.attestations.converting import pep740_of
from countermark.core.attestations.making import Prepared, Subject
from countermark.core.errors import UsageFault
from countermark.placing import write_over

if TYPE_CHECKING:
    from countermark.attesting.checking import Checker
    from countermark.attesting.device import Shown
    from countermark.core.attestations.facts import VerifiedBundle

Sign = Callable[[bytes], bytes]
"""Returns the bundle of a statement."""

_KINDS = {"https://slsa.dev/provenance/v1": "slsa"}
"""Type of a predicate -> what uploaders call its PEP 740 attestation; those of publishing end alike."""
_PUBLISH = "/attestations/publish/v1"


@dataclass(frozen=True, slots=True)
class Todo:
    """A file, what is to be signed about it, and where that goes."""

    file: Path
    subject: Subject
    prepared: Prepared
    bundle: Path
    pep740: Path | None

    @property
    def written(self) -> list[Path]:
        """All that is written."""
        return [self.bundle] if self.pep740 is None else [self.bundle, self.pep740]


@dataclass(frozen=True, slots=True)
class Signers:
    """How it is to be signed: by an identity, or by a key."""

    key: str | None
    identity_token: str | None
    trust_config: Path | None
    rekor: int | None
    browser: bool
    device: bool
    timestamp_url: str | None
    certificate: Path | None
    secret_file: Path | None
    module: str | None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            UsageFault: it does.
        """
        if self.key is not None and (self.identity_token or self.rekor or self.device):
            raise UsageFault("a key signs without identity and log", "Give --key, or an identity.")
        if self.key is None and self.timestamp_url is not None:
            raise UsageFault("--timestamp-url is for --key", "An instance's trust config names its own authority.")
        if self.certificate is not None and None in {self.key, self.timestamp_url, self.trust_config}:
            raise UsageFault(
                "--certificate says who holds a key, by an authority that has no log",
                "Give --key, --timestamp-url, and with --trust-config the trust root that lists both authorities.",
            )


def attest(  # noqa: PLR0913, PLR0917 - a command has an argument for each of its options
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Files; what lies beside them is left out.")],
    statement: Annotated[
        Path | None, typer.Option("--statement", help="Sign this statement. Default: FILE.statement.json.")
    ] = None,
    predicate: Annotated[Path | None, typer.Option("--predicate", help="Sign a new statement with this.")] = None,
    predicate_type: Annotated[
        str | None, typer.Option("--predicate-type", metavar="URI", help="Its type; alone: a predicate of null.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="URI", help="Sign with a named key; URIs as of `countermark key`.")
    ] = None,
    timestamp_url: Annotated[
        str | None,
        typer.Option("--timestamp-url", metavar="URL", help="With --key: an RFC 3161 authority to stamp it."),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="With --key: its certificate, by your own authority."),
    ] = None,
    identity_token: Annotated[
        str | None,
        typer.Option("--identity-token", envvar="COUNTERMARK_IDENTITY_TOKEN", help="An OIDC token to sign as."),
    ] = None,
    trust_config: Annotated[
        Path | None, typer.Option("--trust-config", help="The Sigstore instance; with --key, its trust root will do.")
    ] = None,
    rekor: Annotated[
        int | None, typer.Option("--rekor-version", min=1, max=2, help="Its log. Default: 1 where there is one.")
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Sign in by a browser here, or by a code from elsewhere.")
    ] = True,
    device: Annotated[
        bool, typer.Option("--device", help="Sign in by confirming a code on another device; no terminal is needed.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", help="Write FILE.NAME.sigstore.json: for one more attestation.")
    ] = None,
    pep740: Annotated[
        bool, typer.Option("--pep740", help="Also write FILE.slsa.attestation (or .publish.), for other uploaders.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
    secret_file: SecretFileOption = None,
    module: ModuleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign what is said of files as Sigstore bundles, FILE.sigstore.json, and print their paths.

    By the identity of the pipeline this runs in, of --identity-token, or of the person at the terminal; or with a key.
    Each bundle is verified before it is written; when one fails, none is.
    """
    screen = Screen(as_json=as_json)
    with screen.guarded():
        stamped = (timestamp_url, certificate, secret_file, module)
        signers = Signers(key, identity_token, trust_config, rekor, browser, device, *stamped)
        wanted = Wanted(statement, predicate, predicate_type)
        todo = [_todo(file, wanted, name, pep740) for file in _chosen(files)]
        _check_places(todo, force)
        if any(one.prepared.is_rewritten for one in todo):
            screen.notify("a Statement v0.1 is signed as v1, with the same predicate")
        with _signing(signers, screen) as (sign, checker):
            made = [(one, *_signed(one, sign, checker)) for one in todo]
        objects = [None if one.pep740 is None else _pep740(one, body) for one, body, _ in made]
        for (one, body, _), attestation in zip(made, objects, strict=True):
            write_over(one.bundle, body)
            if one.pep740 is not None and attestation is not None:
                write_over(one.pep740, attestation)
    by = sorted({(facts.san, facts.issuer or "") for _, _, facts in made if facts.san is not None})
    for san, issuer in by:
        # What a policy names, which is not always what a token calls itself.
        screen.tell(f"The certificate names {san}" + (f", issuer {issuer}" if issuer else ""))
    for one, _, facts in made:
        for path in one.written:
            screen.result(str(path))
        screen.object(_told(one, facts))


def _told(one: Todo, facts: VerifiedBundle) -> dict[str, object]:
    """Return what is told of a bundle."""
    return {
        "file": str(one.file),
        "bundle": str(one.bundle),
        "pep740": None if one.pep740 is None else str(one.pep740),
        "sha256": facts.bundle_sha256,
        "predicate_type": facts.predicate_type,
        "identity": facts.san,
        "issuer": facts.issuer,
        "key": facts.key,
        "log": facts.log,
        "log_index": facts.log_index,
        "signed_at": facts.signed_at,
    }


def _chosen(files: Sequence[Path]) -> list[Path]:
    chosen = [file for file in files if not file.name.endswith(ALL)]
    if not chosen:
        raise UsageFault("no file is named that could be attested", "Name wheels and sdists.")
    return chosen


def _todo(file: Path, wanted: Wanted, name: str | None, pep740: bool) -> Todo:
    if name is not None and not (name.isascii() and name.replace("-", "").isalnum() and len(name) <= 40):
        raise UsageFault("--name is part of a file's name", "Take up to 40 letters, digits and dashes.")
    subject = subject_of(file)
    prepared = prepared_for(file, subject, wanted)
    bundle = file.with_name(f"{file.name}{f'.{name}' if name else ''}{BUNDLE}")
    if not pep740:
        return Todo(file, subject, prepared, bundle, None)
    kind = "publish" if prepared.predicate_type.endswith(_PUBLISH) else _KINDS.get(prepared.predicate_type)
    if kind is None:
        raise UsageFault(f"PEP 740 knows no attestations of the type {prepared.predicate_type}", "Leave --pep740 away.")
    return Todo(file, subject, prepared, bundle, file.with_name(f"{file.name}.{kind}{ATTESTATION}"))


def _check_places(todo: Sequence[Todo], force: bool) -> None:
    """Refuse before anything is signed what could not be written afterwards."""
    for path in (path for one in todo for path in one.written):
        if path.exists() and not force:
            raise UsageFault(f"{path} exists and is not written over", "Add --force, or --name for one more.")


@contextlib.contextmanager
def _signing(signers: Signers, screen: Screen) -> Iterator[tuple[Sign, Checker]]:
    """Yield what signs, and what checks that."""
    # They take most of a second to load, which no other command is to wait for.
    from countermark.attesting import keyless, named_key, stamping  # noqa: PLC0415
    from countermark.attesting.checking import Checker  # noqa: PLC0415

    if signers.key is not None:
        root = None if signers.trust_config is None else keyless.read_root(signers.trust_config)
        stamp = None if signers.timestamp_url is None else partial(stamping.stamp, signers.timestamp_url)
        issued = None if signers.certificate is None else named_key.read_certificate(signers.certificate)
        access = key_access(os.environ, signers.secret_file, signers.module)
        found = named_key.open_key(signers.key, access, stamp, issued)
        if stamp is None:
            screen.notify("nothing proves when it was signed: --timestamp-url names an authority that does")
        elif root is None:
            screen.notify("the stamp's authority was not checked: --trust-config names a trust root that lists it")
        yield found.sign, Checker(root, found.pem if issued is None else None)
        return
    instance = keyless.read_instance(signers.trust_config, signers.rekor)
    at_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    show = partial(_show_device, screen) if signers.device else None
    asking = keyless.Asking(signers.identity_token, at_terminal, signers.browser, show)
    with keyless.signing(instance, keyless.find_identity(instance, asking)) as signer:
        screen.tell(f"Signing as {signer.identity}, by {instance.name}")
        yield signer.sign, Checker(instance.trusted_root)


def _show_device(screen: Screen, shown: Shown) -> None:
    screen.tell(f"Open {shown.full_url or shown.url} on any device, and confirm the code {shown.code} there.")


def _signed(one: Todo, sign: Sign, checker: Checker) -> tuple[bytes, VerifiedBundle]:
    body = sign(one.prepared.payload)
    return body, checker.check(body, one.subject, one.prepared.payload)


def _pep740(one: Todo, body: bytes) -> bytes:
    made = pep740_of(read_bundle(body))
    if made is None:
        raise AttestFailed(
            f"the bundle of {one.file.name} cannot be a PEP 740 attestation",
            "These need a certificate and a log of the first version: sign by an identity, with --rekor-version 1.",
        )
    return json.dumps(made).encode()
