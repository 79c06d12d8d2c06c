"""Takes the picture of the page of stalls for scripts/screenshots, with Chromium.

    screenshots.py URL FILE
"""

import sys

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"


def main():
    url, file = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-lcd-text"])
        page = browser.new_page(viewport={"width": 1280, "height": 1390}, color_scheme="light")
        page.goto(url)
        page.screenshot(path=file)
        browser.close()


main()
