"""The web pages in a real browser: light and dark, desktop and phone, with a keyboard, without a script.

Screenshots of all of them go to var/screenshots.
"""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.conftest import live_stack
from tests.live import LiveStack
from tests.web_visitor import HOST, new_token

SHOTS = Path(__file__).parents[1] / "var/screenshots"
SHOP, BROKEN = "shop.example.org", "broken.example.net"
APP = """\
import sys
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/zero":
        return divide(1, 0)
    if path == "/key":
        raise KeyError("<script>alert(1)</script>")
    print("<img src=x onerror=alert(1)> visited", path, file=sys.stderr)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
def divide(a, b):
    return a / b
"""
PAGES = {
    "sites": "/",
    "overview": f"/sites/{SHOP}",
    "broken": f"/sites/{BROKEN}",
    "logs": f"/sites/{SHOP}/logs",
    "errors": f"/sites/{SHOP}/errors",
    "settings": f"/sites/{SHOP}/settings",
}
VIEWS = [(scheme, size) for scheme in ("light", "dark") for size in ((1280, 900), (390, 844))]

CHECKS = (Path(__file__).parent / "web_checks.js").read_text()


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    """A site with a month of visitors, a broken one, and one whose name is long."""
    with live_stack(f'[web]\nhost = "{HOST}"\n') as live:
        live.site(SHOP, "Alice", APP, "--env", 'MY_TEXT=a<b>&"', "--env", "MODE=production")
        live.site(BROKEN, "Bob", "import nothing_there\n")
        live.site("a-rather-long-name-for-a-domain.with-several-parts.example.com", "Carol", None)
        log = live.layout.log_file(SHOP, "access")
        lines = list(month())
        with gzip.open(f"{log}.2.gz", "wt") as old:
            old.writelines(lines[: len(lines) // 2])
        Path(f"{log}.1").write_text("".join(lines[len(lines) // 2 :]))
        for path in ("/", "/zero", "/zero", "/key", "/last"):
            live.request(SHOP, path)
        live.request(BROKEN)
        yield live


def month() -> Iterator[str]:
    """Access lines of 29 days, the last of them an hour old."""
    chance, now = random.Random(1), time.time()
    for hour in range(29 * 24, 0, -1):
        stamp = time.strftime("%d/%b/%Y:%H:%M:%S", time.gmtime(now - hour * 3600))
        for _ in range(chance.randint(2, 40)):
            status = chance.choice([200] * 40 + [304] * 8 + [404] * 2 + [500])
            key = f"{chance.getrandbits(48):012x}"
            yield f'192.0.2.1 - - [{stamp} +0000] "GET / HTTP/1.1" {status} 9 "-" "x" response-time=0.01 {key}\n'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield one
        one.close()


class Window:
    """A window of the browser in which nothing may go wrong: no error, no refused script, no dialog."""

    def __init__(
        self, browser: Browser, stack: LiveStack, scheme: str = "light", size: tuple[int, int] = (1280, 900)
    ):
        self.base = f"http://{HOST}:{stack.port}"
        self.wrong: list[str] = []
        self.context: BrowserContext = browser.new_context(
            color_scheme="dark" if scheme == "dark" else "light", viewport={"width": size[0], "height": size[1]}
        )
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda told: self.wrong.append(told.text) if told.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))

    def open(self, path: str) -> Page:
        self.page.goto(self.base + path)
        return self.page

    def log_in(self, token: str) -> None:
        self.open("/login")
        self.page.get_by_label("Your token").fill(token)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(f"{self.base}/")


@pytest.fixture
def window(browser: Browser, stack: LiveStack) -> Iterator[Window]:
    one = Window(browser, stack)
    one.log_in(new_token(stack, "--operator"))
    yield one
    one.context.close()
    assert one.wrong == []


@pytest.mark.parametrize(("scheme", "size"), VIEWS)
def test_every_page_can_be_read_by_everybody(
    browser: Browser, stack: LiveStack, scheme: str, size: tuple[int, int]
) -> None:
    """Contrast, names, headings in order, landmarks, no sideways scrolling, targets that a finger hits."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    window = Window(browser, stack, scheme, size)
    page = window.page
    try:
        for name, path in {"login": "/login", **PAGES}.items():
            if name == "sites":
                window.log_in(new_token(stack, "--operator"))
            window.open(path)
            if name == "logs":
                expect(page.locator("#live")).to_have_text("live")
                expect(page.locator("#lines")).to_contain_text("visited /last")
            if name == "errors":
                page.locator("summary").first.click()
            page.screenshot(path=SHOTS / f"{name}-{size[0]}-{scheme}.png", full_page=True)
            where = f"{name}, {scheme}, {size[0]}"
            for check in ("faint", "nameless", "small", "headings", "ids"):
                assert page.evaluate(f"{CHECKS.strip()}.{check}()") == [], f"{check}: {where}"
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0], where
            assert page.locator("header").count() == page.locator("main").count() == 1, where
            assert page.locator("html").get_attribute("lang") == "en", where
            assert page.title() not in ("", "user-wsgi-wrapper"), where
    finally:
        window.context.close()
    assert window.wrong == []


def test_dark_is_dark(browser: Browser, stack: LiveStack) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        window = Window(browser, stack, scheme)
        grounds.append(window.open("/login").evaluate("getComputedStyle(document.body).backgroundColor"))
        window.context.close()
    assert [int(one.split("(")[1].split(",")[0]) > 127 for one in grounds] == [True, False]


def test_the_keyboard_reaches_everything_and_shows_where_it_is(window: Window) -> None:
    page = window.open(f"/sites/{SHOP}/settings")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.reload()
    wanted = page.evaluate("[...document.querySelectorAll('a, button, input:not([type=hidden]), textarea')].length")
    reached = 0
    for _ in range(wanted):
        page.keyboard.press("Tab")
        width = page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
        assert width >= 2, page.evaluate("document.activeElement.outerHTML")
        reached += 1
    assert page.evaluate("document.activeElement.textContent").strip() == "Save", "the last one, in the page's order"
    assert reached == wanted


def test_the_live_tail_follows_pauses_and_ends_with_the_login(window: Window, stack: LiveStack) -> None:
    page = window.open(f"/sites/{SHOP}/logs")
    expect(page.locator("#live")).to_have_text("live")
    stack.request(SHOP, "/while-looking")
    expect(page.locator("#lines")).to_contain_text("<img src=x onerror=alert(1)> visited /while-looking")
    assert page.locator("#lines img").count() == 0
    page.get_by_label("Show only lines with this text").fill("/while-looking")
    assert page.locator("#lines span:visible").count() == 1
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#live")).to_have_text("paused")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#live")).to_have_text("live")
    other = window.context.new_page()
    other.goto(f"{window.base}/")
    other.get_by_role("button", name="Log out").click()
    expect(page.locator("#live")).to_have_text("You were logged out.")


def test_a_reload_tells_its_outcome_by_itself(window: Window, stack: LiveStack) -> None:
    page = window.open(f"/sites/{BROKEN}")
    page.get_by_role("button", name="Reload the code").click()
    outcome = page.get_by_role("status")
    expect(outcome).to_contain_text("Not reloaded", timeout=30_000)
    expect(outcome).to_contain_text("No module named 'nothing_there'")
    page.reload()
    expect(outcome).to_contain_text("Not reloaded")


def test_settings_are_saved_and_refused_with_the_reason(window: Window, stack: LiveStack) -> None:
    page = window.open(f"/sites/{SHOP}/settings")
    page.get_by_label("Environment", exact=True).fill("MODE=test\n1BAD=x")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("1BAD")
    expect(page.get_by_label("Environment", exact=True)).to_have_value("MODE=test\n1BAD=x")
    window.wrong.clear()  # the browser tells the 422 on its console
    page.get_by_label("Environment", exact=True).fill("MODE=test")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("were changed")
    assert "MODE=test" in stack.command("site", "show", SHOP)


def test_all_but_the_live_tail_works_without_a_script(browser: Browser, stack: LiveStack) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    base = f"http://{HOST}:{stack.port}"
    page.goto(f"{base}/login")
    page.get_by_label("Your token").fill(new_token(stack, "--user", "Alice"))
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name=SHOP).click()
    page.get_by_role("button", name="Reload the code").click()
    expect(page.get_by_role("status")).to_contain_text("Reloading")
    deadline = time.monotonic() + 30
    while page.get_by_role("link", name="Look again").count():
        assert time.monotonic() < deadline
        page.get_by_role("link", name="Look again").click()
    expect(page.get_by_role("status")).to_contain_text("reloaded in")
    page.get_by_role("link", name="Logs").click()
    expect(page.locator("#lines")).to_contain_text("KeyError")
    assert not page.get_by_role("button", name="Pause").is_visible()
    context.close()
