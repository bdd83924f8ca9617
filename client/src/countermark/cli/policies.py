"""`countermark policy`: check a policy before it is signed, say what it demands of a file, and print its schema."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from countermark.cli.connecting import Asked, FirstUseOption, JsonOption, RepositoryOption, RootOption, opened
from countermark.cli.screen import Screen
from countermark.core.attestations.judgements import JudgedFile
from countermark.core.errors import PolicyUnusable, UsageFault
from countermark.core.names import FileName, NormalizedName
from countermark.core.policy.linting import lint
from countermark.core.policy.wording import policy_in_words
from countermark.further import About, Further, gather
from countermark.policy_questions import (
    Explained,
    Question,
    explain_file,
    question_of_files,
    question_of_index,
    read_policy,
)

app = typer.Typer(help="The signed policy: check it, explain it, print its schema.", no_args_is_help=True)

AttestationOption = Annotated[
    list[Path] | None,
    typer.Option("--attestation", metavar="BUNDLE", help="A Sigstore bundle of the file; repeated. Gives a verdict."),
]
TrustedRootOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trusted-root",
        metavar="[NAME=]FILE",
        help="The bytes of a root that the policy names; repeated. Without NAME of the only one.",
    ),
]
PolicyFileOption = Annotated[
    Path | None, typer.Option("--policy", metavar="FILE", help="This policy, instead of the one that is signed.")
]
AsIndexOption = Annotated[
    str | None, typer.Option("--index", metavar="OWNER/INDEX", help="As a file of this index; else the repository's.")
]
StrictOption = Annotated[bool, typer.Option("--strict", help="End with 1 where something is probably not meant.")]


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The policy: trust/policy.yaml.")],
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read a policy, say what its rules demand in words, and note what is probably not meant."""
    screen = Screen(as_json=as_json)
    with screen.guarded():
        policy = read_policy(file)
        notes = lint(policy)
        words = list(policy_in_words(policy))
        screen.object({"file": str(file), "rules": len(policy.rules), "words": words, "notes": notes})
        for line in words:
            screen.result(line)
        for note in notes:
            screen.notify(note)
        if strict and notes:
            raise PolicyUnusable(
                f"{len(notes)} thing(s) in {file} are probably not meant", "Mend them, or drop --strict."
            )
        screen.tell(f"{file} is a policy of {len(policy.rules)} rule(s); {len(notes)} note(s).")


@app.command()
def explain(  # noqa: PLR0913, PLR0917 - each is an option of the command line
    what: Annotated[list[str], typer.Argument(metavar="FILE|NAME==V...", help="Local files, or releases.")],
    policy: PolicyFileOption = None,
    index: AsIndexOption = None,
    attestation: AttestationOption = None,
    trusted_root: TrustedRootOption = None,
    repository: RepositoryOption = None,
    root: RootOption = None,
    first_use: FirstUseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say which rule is about a file and what it demands; with a bundle, the verdict and every check.

    The policy is the one that the trust role of the repository signs, roots included, or the one in --policy. Of a file
    here that needs evidence, what the repository has of it is judged where no bundle is given.
    Ends as `countermark verify` would at the policy: 0, 60, 61 or 62 (51, 52 for the bundle itself); without a bundle
    with 0.
    """
    screen = Screen(as_json=as_json, full_table=True)
    with screen.guarded(), contextlib.ExitStack() as stack:
        bundles = attestation or ()
        if policy is not None:
            question = question_of_files(policy, trusted_root or (), index, bundles)
        elif trusted_root:
            raise UsageFault("--trusted-root goes with --policy", "Roots of the signed policy are signed beside it.")
        else:
            question = _signed(stack, Asked(repository, root, first_use), index, bundles)
        explained = [explain_file(question, one, screen.notify) for one in what]
    for one in explained:
        _show(screen, one)
    # The first refusal decides, as the chain of a verification does.
    raise typer.Exit(next((one.exit_code for one in explained if one.exit_code), 0))


def _signed(stack: contextlib.ExitStack, where: Asked, index: str | None, bundles: Sequence[Path]) -> Question:
    """Return a question about what the trust role of a repository signs, which may be asked until the stack closes."""
    here = stack.enter_context(opened(where, Screen(quiet=True))).verifier
    with here.metadata() as view:
        material, place = view.material(view.asked, with_roots=True), view.locations_of(view.asked)[0]

    def further(file: JudgedFile) -> Further:
        about = About(place, NormalizedName(file.project), FileName(file.file_name))
        return gather(about, here.repository.source)

    return question_of_index(material, index or str(place.index), bundles, further)


def _show(screen: Screen, one: Explained) -> None:
    screen.object(one.to_document())
    screen.result(f"{one.file.project} {one.file.version} in {one.file.index}: {one.about}")
    for line in one.words:
        screen.result(f"  {line}")
    if one.judgement is None:
        return
    for check in one.judgement.verdict.checks:
        sign = "ok " if check.ok else "NO "
        screen.result(f"  {sign} {check.name}: {check.found or 'nothing'} (wanted: {check.wanted})")
    screen.result(f"  {'allowed' if not one.exit_code else 'refused'}: {one.judgement.reason} [exit {one.exit_code}]")


@app.command()
def schema() -> None:
    """Print the JSON Schema of policies, for editors."""
    typer.echo((resources.files("countermark.core.policy") / "schema.json").read_text("utf-8"), nl=False)
