"""Looks at the page of stalls with Chromium, as different people do; fails with what is wrong.

    look.py URL EXPECTED [FOLDER]

EXPECTED has to be in the verdict. With FOLDER, pictures go there.
"""

import sys
import urllib.request
from pathlib import Path

import html5lib
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

URL, EXPECTED = sys.argv[1:3]
FOLDER = Path(sys.argv[3]) if len(sys.argv) > 3 else None
CHROMIUM = "/usr/bin/chromium"
# For what must happen, in milliseconds.
LIMIT = 60_000

PHONE, WIDE = (390, 844), (1920, 1080)

# The smallest contrast of a text with what is behind it.
CONTRAST = """() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
  };
  const all = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest("script, title, .unseen, [hidden]")) continue;
    const style = getComputedStyle(element);
    const front = light(parse(element.closest("svg") ? style.fill : style.color));
    const back = light(behind(element.closest("svg")?.parentElement ?? element));
    const contrast = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    all.push([contrast, walker.currentNode.data.trim().slice(0, 40)]);
  }
  return all.reduce((least, each) => (each[0] < least[0] ? each : least));
}"""


def check(holds, what):
    if not holds:
        raise SystemExit(f"{URL}: {what}")


def valid():
    """The markup, as the server sends it."""
    text = urllib.request.urlopen(URL, timeout=60).read().decode()
    html5lib.HTMLParser(strict=True).parse(text)


class Visit:
    """One person's look at the page."""

    def __init__(self, browser, name, size, scheme="light", script=True):
        self.name, self.problems = name, []
        viewport = {"width": size[0], "height": size[1]}
        self.context = browser.new_context(
            viewport=viewport, color_scheme=scheme, java_script_enabled=script
        )
        self.page = self.context.new_page()
        # Violations of the page's policy are among them.
        self.page.on("console", lambda said: self.problems.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("requestfailed", lambda request: self.problems.append(request.url))
        self.page.goto(URL)
        sentence = self.page.inner_text("#verdict .sentence")
        check(EXPECTED in sentence, f"{name}: {EXPECTED!r} is not in {sentence!r}")

    def end(self):
        if FOLDER:
            self.page.screenshot(path=FOLDER / f"{self.name}.png", full_page=True)
        check(not self.problems, f"{self.name}: {self.problems}")
        self.context.close()

    def fits(self):
        wide, window = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        check(wide <= window, f"{self.name}: the page is {wide} wide in a window of {window}")

    def contrast(self):
        least, text = self.page.evaluate(CONTRAST)
        check(least >= 4.5, f"{self.name}: {text!r} has a contrast of {least:.2f}")

    def accessible(self):
        found = Axe().run(self.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]})
        check(found.violations_count == 0, f"{self.name}: {found.generate_report()}")

    def refreshed(self):
        """Waits until the page has renewed itself."""
        before = self.page.get_attribute("#updated time", "datetime")
        renewed = "before => document.querySelector('#updated time')?.dateTime > before"
        self.page.wait_for_function(renewed, arg=before, timeout=LIMIT)


def stays_open(visit):
    """What is open stays open and keeps the focus, though the page renews itself."""
    page = visit.page
    if page.locator("details").count() == 0:
        return
    page.locator("details summary").first.focus()
    page.keyboard.press("Enter")
    opened = page.locator("details[open]").first.get_attribute("id")
    page.evaluate("window.scrollTo(0, 40)")
    at = page.evaluate("scrollY")
    visit.refreshed()
    visit.refreshed()
    check(page.locator(f"#{opened}[open]").count() == 1, "an open record has closed itself")
    focused = page.evaluate("document.activeElement.closest('details')?.id")
    check(focused == opened, f"the focus went from {opened} to {focused}")
    check(page.evaluate("scrollY") == at, "the page has jumped")
    # The stack of a record has none.
    links = page.locator(f"#{opened} a")
    link = (links if links.count() else page.locator("main a")).last
    link.focus()
    visit.refreshed()
    now, was = page.evaluate("document.activeElement.href"), link.evaluate("a => a.href")
    check(now == was, f"the focus went from {was} to {now}")


def copies(visit):
    """The button of a record puts its report on the clipboard."""
    page = visit.page
    if page.locator("button.copy").count() == 0:
        return
    origin = page.evaluate("location.origin")
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=origin)
    page.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")
    button = page.locator("button.copy").first
    report = urllib.request.urlopen(origin + button.get_attribute("data-from"), timeout=60).read().decode()
    button.click()
    said = "() => document.getElementById('said').textContent === 'Copied'"
    page.wait_for_function(said, timeout=LIMIT)
    copied = page.evaluate("navigator.clipboard.readText()")
    # One that lasts has another time by now.
    same = lambda text: text.splitlines()[2:]
    check(same(copied) == same(report), f"copied: {copied!r}, not {report!r}")


def leads_to_the_flame_graph(visit):
    """A row of sites leads to the frames of its function, which are marked there."""
    link = visit.page.locator('a[href^="/flamegraph.svg?s="]')
    if link.count() == 0:
        return
    graph = visit.context.new_page()
    graph.goto(visit.page.evaluate("location.origin") + link.first.get_attribute("href"))
    marked = "() => document.querySelectorAll('rect[fill=\"rgb(230,0,230)\"]').length > 0"
    graph.wait_for_function(marked, timeout=LIMIT)
    graph.close()


def pauses(visit):
    page = visit.page
    page.click("#pause")
    check(page.get_attribute("#pause", "aria-pressed") == "true", "it is not paused")
    # One may be under way.
    page.wait_for_timeout(500)
    before = page.get_attribute("#updated time", "datetime")
    page.wait_for_timeout(5000)
    check(page.get_attribute("#updated time", "datetime") == before, "it went on")
    page.click("#pause")
    visit.refreshed()


def main():
    valid()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, size, scheme in [
            ("phone-light", PHONE, "light"),
            ("phone-dark", PHONE, "dark"),
            ("wide-light", WIDE, "light"),
            ("wide-dark", WIDE, "dark"),
        ]:
            visit = Visit(browser, name, size, scheme)
            visit.refreshed()
            visit.fits()
            if visit.page.locator("details").count():
                visit.page.locator("details summary").first.click()
            visit.contrast()
            visit.accessible()
            visit.end()
        visit = Visit(browser, "keyboard", WIDE)
        stays_open(visit)
        copies(visit)
        leads_to_the_flame_graph(visit)
        pauses(visit)
        visit.end()
        visit = Visit(browser, "no-script", PHONE, script=False)
        check(not visit.page.is_visible("#pause"), "there is nothing to pause without JavaScript")
        if visit.page.locator("details").count():
            visit.page.locator("details summary").first.click()
            check(visit.page.is_visible("details[open] > :not(summary)"), "records open without JavaScript")
        visit.end()
        browser.close()


main()
