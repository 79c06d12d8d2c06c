"""Takes the pictures of scripts/screenshots with Chromium.

    screenshots.py page URL FILE
    screenshots.py log FILE        lines of a log on standard input
"""

import html
import re
import sys

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
STYLE = """
body { margin: 0; background: #16181d; }
pre { margin: 0; padding: 1rem 1.25rem; color: #d6d9df; width: 1180px; box-sizing: border-box;
  font: 13px/1.5 "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.when, .field { color: #8b93a1; } .WARN { color: #f2c94c; } .INFO { color: #6fcf97; } .what { color: #fff; }
"""


def coloured(line):
    """As the terminal shows a line of tracing-subscriber: time, level, message, fields."""
    when, level, rest = line.strip().split(None, 2)
    # What is said comes first, then the fields.
    said = re.match(r"tower_stall: (.*?)(?= \w[\w.]*=|$)", rest)
    fields = rest[said.end() :]
    parts = [("when", when), (level, level), ("what", said[1]), ("field", fields.strip())]
    return " ".join(f'<span class="{kind}">{html.escape(text)}</span>' for kind, text in parts)


def main():
    what, *arguments = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-lcd-text"])
        if what == "page":
            url, file = arguments
            page = browser.new_page(viewport={"width": 1280, "height": 1390}, color_scheme="light")
            page.goto(url)
            page.screenshot(path=file)
        else:
            (file,) = arguments
            lines = [coloured(line) for line in sys.stdin]
            page = browser.new_page(viewport={"width": 1180, "height": 200})
            page.set_content(f"<style>{STYLE}</style><pre>{chr(10).join(lines)}</pre>")
            page.locator("pre").screenshot(path=file)
        browser.close()


main()
