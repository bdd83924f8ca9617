"""What a person reads when everything is up: addresses, the owner link, and lines to copy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Facts:
    """What the banner tells.

    Attributes:
        api: URL of the host for machines, no trailing slash.
        ui: URL of the host for people, no trailing slash.
        index: the default index, `owner/name`.
        data: the data folder.
        programs: folder of `countermark` and `countermark-server`, as it can be written on a command line.
        owner_link: the one-time link; None when the deployment has its owner already.
        seconds: how long the start took.
        open_devpi: whether it answers as open as a plain devpi-server.
        profile: custody of the keys.
    """

    api: str
    ui: str
    index: str
    data: Path
    programs: str
    owner_link: str | None
    seconds: float
    open_devpi: bool = False
    profile: str = "development"


OPEN_DEVPI = (
    "  !!  OPEN AS A PLAIN DEVPI-SERVER (compat = devpi-open)",
    "  !!  root and every account without a password sign in with an empty one; anybody on this machine makes",
    "  !!  accounts, uploads test results and guesses without limit; new indexes do not look into what is uploaded.",
    "  !!  For scripts and test suites only. Start without --compat to close it again: empty passwords end then.",
    "",
)
"""What is said loudly of a deployment that everybody on the machine may use."""


def render(facts: Facts) -> str:
    """Return the banner."""
    index = f"{facts.api}/{facts.index}"
    server, client = f"{facts.programs}countermark-server", f"{facts.programs}countermark"
    owner = facts.index.split("/", maxsplit=1)[0]
    lines = [
        "",
        f"Countermark is ready ({facts.seconds:.1f} s); Ctrl-C stops it. Data: {facts.data}",
        "",
        *(OPEN_DEVPI if facts.open_devpi else ()),
        f"  packages  {index}/+simple/",
        f"  people    {facts.ui}/",
    ]
    if facts.owner_link is not None:
        lines.append(f"  owner     {facts.owner_link}   (signs you in once, within a day)")
    else:
        lines.append(f"  sign in   {server} user link --data {_quoted(facts.data)}   (prints a link that works once)")
    lines += [
        "",
        "  pip       " + f"pip install --index-url {index}/+simple/ NAME",
        "  uv        " + f"uv pip install --index-url {index}/+simple/ NAME",
        "  verified  " + f"{client} download --repository {index} --trust-on-first-use NAME",
        "",
        f"  token     TOKEN=$({server} token create --data {_quoted(facts.data)} --user {owner} --index {facts.index})",
        "  twine     " + f'twine upload --repository-url {index}/ --username __token__ --password "$TOKEN" dist/*',
        "  uv        " + f'uv publish --publish-url {index}/ --token "$TOKEN" dist/*',
        "  upload    " + f'COUNTERMARK_TOKEN="$TOKEN" {client} upload --index {index} dist/*',
        "",
        *_about_keys(facts),
    ]
    return "\n".join(lines) + "\n"


def _about_keys(facts: Facts) -> list[str]:
    if facts.profile != "development":
        return []
    return [
        f"  The signing keys were made on this machine and lie unprotected in {facts.data / 'keys'}:",
        "  for development only. Whoever reads that folder can sign for every index here.",
        "",
    ]


def _quoted(path: Path) -> str:
    text = str(path)
    return (
        text
        if all(letter.isalnum() or letter in "/._-+" for letter in text)
        else "'" + text.replace("'", "'\\''") + "'"
    )
