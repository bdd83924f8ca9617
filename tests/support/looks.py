"""How the dashboard's pages are looked at in a real browser: in each look, for what cannot be read or does not fit."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Locator, Page, StorageState, ViewportSize, sync_playwright

from tests.support.processes import Deployment
from tests.support.real import CHROMIUM, CHROMIUM_FLAGS

DESK, PHONE = ViewportSize(width=1200, height=800), ViewportSize(width=390, height=800)
LOOKS: dict[str, tuple[Literal["light", "dark"], ViewportSize]] = {
    "light": ("light", DESK),
    "dark": ("dark", DESK),
    "phone": ("light", PHONE),
}

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


def picture(page: Page, name: str) -> None:
    """Keep a picture of a page in the folder that `SCREENSHOTS` names, if it does."""
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def follow(control: Locator) -> None:
    """Press a link or a button that leads to another page, and wait until that page is there.

    A click alone may return while the browser still shows the page before, or a document that has no body yet.
    """
    with control.page.expect_navigation():
        control.click()


@contextmanager
def a_browser() -> Iterator[Browser]:
    """Yield a real headless Chromium."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


def sign_in(deployment: Deployment, browser: Browser) -> StorageState:
    """Return the cookies of the owner's browser after a one-time link."""
    link = re.search(r"http://\S+", deployment.command("user", "link", "root").stdout)
    assert link is not None
    context = browser.new_context()
    page = context.new_page()
    page.goto(link[0])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{deployment.ui}/")
    state = context.storage_state()
    context.close()
    return state


def assert_stands(page: Page, url: str, name: str, *, escaped: str = "") -> None:
    """Assert that a page answers, fits the window, breaks no policy of its own, and can be read.

    Args:
        page: a tab in one of `LOOKS`.
        name: of its picture.
        escaped: text of others that the page shows and that would be markup were it not escaped.
    """
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    answer = page.goto(url)
    picture(page, name)
    assert answer is not None
    assert answer.status == 200, page.content()
    text = answer.text().replace(escaped, "") if escaped else answer.text()
    assert text.count("<script") == text.count("<script src=") == 1
    assert re.search(r"<style|<b |\s(style|on\w+)=", text) is None
    assert page.evaluate(FAULTS) == []
    assert complaints == []
