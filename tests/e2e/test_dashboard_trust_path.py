"""The trust path of files in a real browser, on a deployment whose key holders signed a root and a policy.

Screenshots go to the folder that `SCREENSHOTS` names, if it does. Without Chromium these tests are skipped.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, Page

from countermark.core.digest import sha256_of
from tests.support.archives import make_wheel
from tests.support.builds import Forge, body, predicate
from tests.support.looks import assert_stands, follow, sign_in
from tests.support.processes import Deployment, program, run
from tests.support.sigstore.instance import SLSA, statement
from tests.support.sigstore.tokens import github
from tests.support.trusting import demanding_builds
from tests.support.uploading import basic, form_body, form_fields, post_file
from tests.support.waiting import until

pytestmark = pytest.mark.embedded

PROJECTS = "/indexes/root/stable/projects"


def wheel(project: str, version: str) -> str:
    """Return the name of a wheel."""
    return f"{project}-{version}-py3-none-any.whl"


def page_of(project: str, version: str) -> str:
    """Return the address of a wheel's page."""
    return f"{PROJECTS}/{project}/releases/{version}/files/{wheel(project, version)}"


PAGES = {
    "trust-path": page_of("widget", "1.0"),
    "trust-path-without-attestation": page_of("free", "1.1"),
    "trust-path-contradicted": page_of("free", "1.0"),
    "provenance-lost": f"{PROJECTS}/free",
    "provenance-of-releases": f"{PROJECTS}/free/releases",
}


@pytest.fixture(scope="module")
def seeded() -> Iterator[Deployment]:
    """A deployment that demands build provenance of `widget`, and has `free`, whose provenance lies and is lost."""
    with demanding_builds() as (running, forge, _home):
        _upload(running, forge)
        yield running


def _upload(deployment: Deployment, forge: Forge) -> None:
    token, url = deployment.token(), f"{deployment.api}/root/stable"
    attested = make_wheel("widget", "1.0")
    fields = form_fields(wheel("widget", "1.0"), attested)
    fields["attestations"] = f"[{body(forge.build_attestation(wheel('widget', '1.0'), attested)).decode()}]"
    sent, form = form_body(wheel("widget", "1.0"), attested, fields)
    answer = httpx2.post(f"{url}/", content=sent, headers=basic(token) | form, timeout=60)
    assert answer.status_code == 200, answer.text
    for version in ("1.0", "1.1"):
        answer = post_file(url, token, wheel("free", version), make_wheel("free", version))
        assert answer.status_code == 200, answer.text
    content, name = make_wheel("free", "1.0"), wheel("free", "1.0")
    false = predicate(github("other/repository"))
    false["buildDefinition"]["buildType"] = "<b onclick=alert(1)>https://\u0430cme.test/" + "long/" * 200
    bundle = forge.instance.sign(statement(name, content, SLSA, predicate=false), github())
    path = f"{deployment.api}/api/v1/indexes/root/stable/files/{sha256_of(content)}/{name}/attestations"
    answer = httpx2.post(path, content=body(bundle), headers=basic(token), timeout=60)
    assert answer.status_code in {200, 202}, answer.text
    until("the files are published", lambda: all(_published(deployment, one) for one in ("widget", "free")))


def _published(deployment: Deployment, project: str) -> bool:
    return httpx2.get(f"{deployment.api}/root/stable/+simple/{project}/", timeout=20).status_code == 200


@pytest.mark.parametrize("name", PAGES)
def test_every_page_stands_in_every_look(seeded: Deployment, page: Page, look: str, name: str) -> None:
    """It answers, fits the window, breaks no policy, and can be read: labels, headings, contrast of 4.5 to 1."""
    assert_stands(page, f"{seeded.ui}{PAGES[name]}", f"{name}-{look}", escaped="&lt;b onclick=")


def test_the_path_is_walked_without_a_script(seeded: Deployment, plain: Page) -> None:
    """From the release to its file: the stations in order, the policy's verdict, and claims marked in words."""
    plain.goto(f"{seeded.ui}{PROJECTS}/widget/releases/1.0")
    follow(plain.get_by_role("link", name="Trust path of"))
    assert "Every step holds." in plain.get_by_role("main").inner_text()
    stations = plain.locator(".path h3").all_inner_texts()
    assert [one.split()[0] for one in stations] == ["Commit", "Build", "Attestation", "Signed", "Bytes"]
    assert all("verified" in one for one in stations)
    build = plain.get_by_role("listitem", name="Build").inner_text()
    assert "publisher’s claim" in build
    assert "this server" in plain.get_by_role("region", name="Signed metadata files").inner_text()
    checks = plain.get_by_role("region", name="Checks of the policy").inner_text()
    assert "does not hold" not in checks
    assert "holds" in checks


def test_what_contradicts_and_what_is_lost_is_said(seeded: Deployment, plain: Page) -> None:
    """The false repository beside the certificate's, and the release behind it that nobody attests."""
    plain.goto(f"{seeded.ui}{page_of('free', '1.0')}")
    commit = plain.get_by_role("listitem", name="Commit").inner_text()
    assert "https://github.com/other/repository" in commit
    assert "contradicted" in commit
    plain.goto(f"{seeded.ui}{PROJECTS}/free")
    assert "Provenance was there before and is gone:" in plain.get_by_role("main").inner_text()


def test_the_commands_of_the_page_check_the_file(deployment: Deployment, chromium: Browser, tmp_path: Path) -> None:
    """Copied as they stand, with the root pinned first, both end 0; a changed byte ends 41."""
    name = wheel("copied", "1.0")
    answer = post_file(f"{deployment.api}/root/stable", deployment.token(), name, make_wheel("copied", "1.0"))
    assert answer.status_code == 200, answer.text
    context = chromium.new_context(storage_state=sign_in(deployment, chromium), java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{deployment.ui}{page_of('copied', '1.0')}")
    assert "The bytes are those that were signed." in page.get_by_role("main").inner_text()
    commands = page.locator("section[aria-labelledby=check] pre").all_inner_texts()
    context.close()
    verify, fetch = (shlex.split(command.strip()) for command in commands)
    environment = {"COUNTERMARK_HOME": str(tmp_path / "home")}
    argv = [program("countermark"), *fetch[1:], "--dest", str(tmp_path), "--trust-on-first-use"]
    done = run(*argv, environment=environment)
    assert done.returncode == 0, done.stderr
    argv = [program("countermark"), *(str(tmp_path / one) if one == name else one for one in verify[1:])]
    assert run(*argv, environment=environment).returncode == 0
    changed = bytearray((tmp_path / name).read_bytes())
    changed[-1] ^= 1
    (tmp_path / name).write_bytes(changed)
    assert run(*argv, environment=environment).returncode == 41
