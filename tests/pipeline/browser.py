"""A real headless Chromium for tests of reports."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


class Opened:
    """A page in the browser, with its errors, dialogs and network requests."""

    def __init__(self, page):
        self.page = page
        self.problems = []
        page.on("console", lambda message: self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: self.problems.append(f"alert {dialog.message}"))
        page.on("request", self._note_request)

    def _note_request(self, request):
        if not request.url.startswith(("file:", "data:")):
            self.problems.append(f"requested {request.url}")

    def wait_for_images(self):
        """Waits for all images; the page's policy forbids Playwright's own `wait_for_function`.

        That one evaluates its string in the page, unless the first look already succeeds.
        """
        deadline = time.monotonic() + 60
        while not self.page.evaluate("[...document.images].every(i => i.naturalWidth)"):
            assert time.monotonic() < deadline, "an image does not load"
            self.page.wait_for_timeout(50)

    def visible(self, selector):
        return self.page.locator(selector).first.is_visible()


def find_chromium() -> str | None:
    """Returns the program that CHROMIUM names, or one on the PATH; None without either."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return os.environ.get("CHROMIUM") or next(filter(None, found), None)


@contextlib.contextmanager
def opened(path: Path, **context) -> Iterator[Opened]:
    """Opens a local file; skips the test where there is no browser.

    Args:
        path: an HTML file.
        context: of Playwright's `new_context`, such as `viewport` and `color_scheme`.
    """
    sync_api = pytest.importorskip("playwright.sync_api")
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium, or CHROMIUM=path of the program")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_QUIET)
        try:
            page = browser.new_context(**context).new_page()
            view = Opened(page)
            page.goto(path.as_uri())
            yield view
        finally:
            browser.close()
