"""Every page of the dashboard in a real browser, on a real deployment with a team's data.

Screenshots go to the folder that `COUNTERMARK_SCREENSHOTS` names, if it does. Without Chromium these tests are skipped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import httpx2
import pytest
from playwright.sync_api import Browser, Page, StorageState, ViewportSize, sync_playwright

from tests.support.archives import Project, make_wheel
from tests.support.processes import Deployment
from tests.support.uploading import basic, form_body, form_fields

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
DESK, PHONE = ViewportSize(width=1200, height=800), ViewportSize(width=390, height=800)
LOOKS: dict[str, tuple[Literal["light", "dark"], ViewportSize]] = {
    "light": ("light", DESK),
    "dark": ("dark", DESK),
    "phone": ("light", PHONE),
}
INDEX = "/indexes/root/stable"
ORCHARD = f"{INDEX}/projects/orchard"
PAGES = {
    "indexes": "/",
    "projects": INDEX,
    "search": f"{INDEX}?q=orch",
    "nothing-found": f"{INDEX}?q=zzz",
    "setup": f"{INDEX}/setup",
    "publications": f"{INDEX}/publications",
    "project": ORCHARD,
    "releases": f"{ORCHARD}/releases",
    "yanked-release": f"{ORCHARD}/releases/1.3",
    "yank": f"{ORCHARD}/change?action=yank&version=1.14",
    "remove": f"{ORCHARD}/change?action=remove&version=1.14&file=orchard-1.14-py3-none-any.whl",
    "status": f"{ORCHARD}/status",
    "tokens": "/tokens",
    "jobs": "/jobs",
    "given-up-jobs": "/jobs?state=dead",
    "audit": "/audit",
}
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


def _upload(deployment: Deployment, token: str, project: Project) -> None:
    name, version = project.name, project.version
    content = make_wheel(name, version, project=project)
    file_name = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    body, headers = form_body(file_name, content, form_fields(file_name, content))
    answer = httpx2.post(f"{deployment.api}/root/stable/", content=body, headers=headers | basic(token), timeout=30)
    assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def seeded(deployment: Deployment) -> Deployment:
    """The deployment with twenty projects; one has fifteen releases, of which one is yanked, and a description."""
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
        _upload(deployment, token, replace(orchard, version=f"1.{minor}"))
    for name, summary in OTHERS.items():
        _upload(deployment, token, Project(name, "0.1", summary=summary))
    yank = f"{deployment.api}/api/v1{ORCHARD}/releases/1.3/yank"
    answer = httpx2.post(yank, json={"reason": "breaks on leap days"}, headers=basic(token), timeout=30)
    assert answer.status_code in {200, 202}, answer.text
    return deployment


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A real headless Chromium."""
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def signed_in(seeded: Deployment, chromium: Browser) -> StorageState:
    """The cookies of the owner's browser after a one-time link."""
    link = re.search(r"http://\S+", seeded.command("user", "link", "root").stdout)
    assert link is not None
    context = chromium.new_context()
    page = context.new_page()
    page.goto(link[0])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{seeded.ui}/")
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest) -> str:
    """Light, dark, and a phone."""
    return str(request.param)


@pytest.fixture
def page(look: str, chromium: Browser, signed_in: StorageState) -> Iterator[Page]:
    """A signed-in tab."""
    scheme, viewport = LOOKS[look]
    context = chromium.new_context(storage_state=signed_in, color_scheme=scheme, viewport=viewport)
    yield context.new_page()
    context.close()


@pytest.fixture
def plain(chromium: Browser, signed_in: StorageState) -> Iterator[Page]:
    """A signed-in tab of a browser whose scripts are off."""
    context = chromium.new_context(storage_state=signed_in, java_script_enabled=False)
    yield context.new_page()
    context.close()


FAULTS = """() => {
  const found = [];
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) found.push("wider than the window");
  if (document.querySelectorAll("h1").length !== 1) found.push("not one heading of the first level");
  if (document.querySelectorAll("main").length !== 1) found.push("not one main");
  for (const field of document.querySelectorAll("input:not([type=hidden]), select"))
    if (!field.labels.length) found.push("no label: " + field.name);
  for (const link of document.querySelectorAll("a, button"))
    if (!link.textContent.trim()) found.push("a link or button without words");
  for (const table of document.querySelectorAll("main table"))
    if (!table.querySelector("th")) found.push("a table without headers");
  const luminance = color => {
    const parts = color.match(/[\\d.]+/g).slice(0, 3).map(part => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$/.test(color)) return color;
    }
    return "rgb(255, 255, 255)";
  };
  for (const element of document.querySelectorAll("body *")) {
    const words = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!words || element.closest("option")) continue;
    const [one, other] = [luminance(getComputedStyle(element).color), luminance(ground(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) found.push(`contrast ${contrast.toFixed(2)}: ${element.textContent.trim().slice(0, 40)}`);
  }
  return found;
}"""


@pytest.mark.parametrize("name", PAGES)
def test_every_page_stands_in_every_look(seeded: Deployment, page: Page, look: str, name: str) -> None:
    """It answers, fits the window, breaks no policy, and can be read: labels, headings, contrast of 4.5 to 1."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    answer = page.goto(f"{seeded.ui}{PAGES[name]}")
    if folder := os.environ.get("COUNTERMARK_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{folder}/{name}-{look}.png", full_page=True)
    assert answer is not None
    assert answer.status == 200, page.content()
    assert re.search(r"<script|<style|\s(style|on\w+)=", answer.text()) is None
    assert page.evaluate(FAULTS) == []
    assert complaints == []
    assert "taken over" not in page.title()


def test_a_project_is_found_yanked_and_taken_back(seeded: Deployment, plain: Page) -> None:
    """Search, confirm, give a reason; pip's page shows it when the dashboard says that it is published. No script."""
    plain.goto(f"{seeded.ui}{INDEX}")
    plain.get_by_label("Search projects").fill("ledger")
    plain.get_by_role("button", name="Search").click()
    plain.get_by_role("link", name="ledger").click()
    plain.get_by_role("link", name="Yank 0.1").click()
    plain.get_by_label("Reason").fill("wrong on Sundays")
    plain.get_by_role("button", name="Yank").click()
    assert "signed and published" in plain.get_by_role("status").inner_text()
    assert "yanked" in plain.get_by_role("heading", level=1).inner_text()
    html = httpx2.get(f"{seeded.api}/root/stable/+simple/ledger/", headers={"accept": "text/html"}).text
    assert 'data-yanked="wrong on Sundays"' in html
    plain.get_by_role("link", name="Un-yank 0.1").click()
    plain.get_by_role("button", name="Un-yank").click()
    assert "yanked" not in plain.get_by_role("heading", level=1).inner_text()
    html = httpx2.get(f"{seeded.api}/root/stable/+simple/ledger/", headers={"accept": "text/html"}).text
    assert "data-yanked" not in html


def test_a_project_is_quarantined_and_comes_back(seeded: Deployment, plain: Page) -> None:
    """Its page says why; its files are offered no longer, and are again afterwards."""
    project, simple = f"{seeded.ui}{INDEX}/projects/notify", f"{seeded.api}/root/stable/+simple/notify/"
    for status, offered in (("Quarantined", False), ("Active", True)):
        plain.goto(f"{project}/status")
        plain.get_by_label(status).check()
        plain.get_by_label("Reason").fill("being looked at")
        plain.get_by_role("button", name="Set status").click()
        assert ("being looked at" in plain.content()) is not offered
        answer = httpx2.get(simple, headers={"accept": "text/html"})
        assert ("notify-0.1" in answer.text) is offered


def test_a_file_is_removed_for_good(seeded: Deployment, plain: Page) -> None:
    """After the confirmation it is offered no longer."""
    plain.goto(f"{seeded.ui}{INDEX}/projects/pdf-forms")
    plain.get_by_role("link", name="Remove pdf_forms-0.1-py3-none-any.whl").click()
    plain.get_by_role("button", name="Remove for good").click()
    assert "signed and published" in plain.get_by_role("status").inner_text()
    answer = httpx2.get(f"{seeded.api}/root/stable/+simple/pdf-forms/", headers={"accept": "text/html"})
    assert "pdf_forms-0.1" not in answer.text


def test_a_token_of_the_page_uploads_until_it_is_revoked(seeded: Deployment, plain: Page) -> None:
    """What the page shows once is what a tool needs, and revoking ends it."""
    plain.goto(f"{seeded.ui}/tokens")
    plain.get_by_label("Name").fill("a tool of the test")
    plain.get_by_role("button", name="Make token").click()
    token = plain.locator(".secret").inner_text().strip()
    _upload(seeded, token, Project("web-theme", "0.2"))
    plain.get_by_role("link", name="I have it").click()
    assert token not in plain.content()
    plain.get_by_role("link", name="Revoke a tool of the test").click()
    plain.get_by_role("button", name="Revoke").click()
    assert "a tool of the test" not in plain.content()
    answer = httpx2.get(f"{seeded.api}/api/v1/account", headers=basic(token))
    assert answer.status_code == 401
