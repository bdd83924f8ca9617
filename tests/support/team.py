"""A team's data on a deployment: projects with releases and descriptions, people, rights, a project in quarantine."""

from __future__ import annotations

from dataclasses import replace

import httpx2

from tests.support.archives import Project, make_wheel, wheel_name
from tests.support.processes import Deployment
from tests.support.uploading import basic, post_file

INDEX = "/indexes/root/stable"
VAULT = "/indexes/root/vault"
ORCHARD = f"{INDEX}/projects/orchard"
README = (
    """# Orchard

Plan, plant and **harvest** the platform's data orchards.

```python
from orchard import Orchard

with Orchard("north") as orchard:
    for tree in orchard.trees(where="ripe", limit=100):
        tree.harvest()
```

| Part | What it does |
|---|---|
| `orchard.plan` | decides what grows where |
| `orchard.work` | does it |

> Harvesting twice is harmless.

<script>document.title = "taken over"</script>

1. Install it.
2. Run `orchard init`.
3. [Read more](https://example.org/orchard).

## Why

"""
    + "It keeps what grows apart from what is sold, and asks before it cuts anything down. " * 40
)
ABOUT = (
    "Author: Platform team",
    "License: Apache-2.0",
    "Keywords: data,orchard,harvest",
    "Description-Content-Type: text/markdown",
    "Project-URL: Documentation, https://example.org/docs",
    "Project-URL: Changes, https://example.org/changes",
)
OTHERS = {
    "billing-core": "Invoices, taxes and dunning as one library.",
    "billing-invoices": "Renders invoices as PDF.",
    "data-lake-writer": "Writes batches to the lake, once.",
    "feature-flags": "Flags with an audit trail.",
    "geo-index": "Points and areas, quickly.",
    "image-pipeline": "Resizes, crops and strips pictures.",
    "internal-auth": "Who is calling, and may they.",
    "k8s-helpers": "Small things every chart needs.",
    "ledger": "Double entry, append only.",
    "mail-templates": "What we write to customers.",
    "metrics-kit": "Counters and histograms with our names.",
    "notify": "One message to many channels.",
    "orchard-client": "Talks to an orchard from elsewhere.",
    "orchard-workers": "Runs in the background and harvests.",
    "pdf-forms": "Fills in forms.",
    "queue-tools": "Look into queues, move what is stuck.",
    "search-ranker": "Sorts what was found.",
    "shared-schemas": "What services say to each other.",
    "web-theme": "Colours and type of all our pages.",
}


def upload(deployment: Deployment, token: str, project: Project) -> None:
    """Upload a wheel of a project to the default index."""
    name, version = project.name, project.version
    content = make_wheel(name, version, project=project)
    file_name = wheel_name(name, version)
    answer = post_file(f"{deployment.api}/root/stable", token, file_name, content)
    assert answer.status_code == 200, answer.text


def seed(deployment: Deployment) -> None:
    """Make twenty projects; one has fifteen releases, of which one is yanked, and a description."""
    token = deployment.token()
    orchard = Project(
        "orchard",
        "1.0",
        requires_python=">=3.11",
        summary="Plan, plant and harvest the platform's data orchards.",
        lines=ABOUT,
        description=README,
    )
    for minor in range(15):
        upload(deployment, token, replace(orchard, version=f"1.{minor}"))
    for name, summary in OTHERS.items():
        upload(deployment, token, Project(name, "0.1", summary=summary))
    yank = f"{deployment.api}/api/v1{ORCHARD}/releases/1.3/yank"
    answer = httpx2.post(yank, json={"reason": "breaks on leap days"}, headers=basic(token), timeout=30)
    assert answer.status_code in {200, 202}, answer.text
    _seed_people(deployment)
    _seed_ceremony(deployment)


def _seed_ceremony(deployment: Deployment) -> None:
    """Let trust wait for signatures."""
    body = {"role": "trust", "change": {}, "reason": "Half a year is over: renew it, nothing else changes."}
    token = deployment.token("--verbs", "read,configure", index="*")
    answer = httpx2.post(f"{deployment.api}/api/v1/trust/events", json=body, headers=basic(token), timeout=30)
    assert answer.status_code == 201, answer.text


def _seed_people(deployment: Deployment) -> None:
    """Make a team with a private index, and quarantine a project."""
    for arguments in (
        ("user", "add", "ines", "--email", "ines@example.org"),
        ("user", "add", "olaf"),
        ("user", "disable", "olaf"),
        ("index", "create", "root/vault", "--private"),
        ("index", "grant", "root/vault", "ines", "read,upload"),
        ("index", "grant", "root/vault", ":platform-team", "read"),
    ):
        done = deployment.command(*arguments)
        assert done.returncode == 0, done.stderr
    configure = deployment.token("--verbs", "configure")
    body = {"status": "quarantined", "reason": "Its maintainer's laptop was stolen; being looked at."}
    answer = httpx2.patch(
        f"{deployment.api}/api/v1{INDEX}/projects/mail-templates", json=body, headers=basic(configure), timeout=30
    )
    assert answer.status_code in {200, 202}, answer.text
