"""One browser for all tests of pages: Debian's Chromium, driven by Playwright.

It is closed after the last of them: as long as Playwright runs, an event loop does, and nothing else could run one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def _missing(what: str) -> NoReturn:
    """Without a browser the tests are skipped; where everything is tested (CI=true) that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}; in CI the pages are tested in a browser", pytrace=False)
    pytest.skip(f"{what}: the pages are not tested in a browser")


@pytest.fixture(scope="module", name="chromium")
def _chromium() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("no playwright (pip install 'gradatim[dev]')")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        _missing("no Chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"], timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture(name="opened")
def _opened(chromium: Any) -> Any:
    """Opens a page file in a context of its own: `with opened(path, **context) as page`. Every request that is not for a file
    is stopped, and is a failure when the page is closed, as is every word on the console and every dialog."""

    @contextmanager
    def open_page(path: Path, script: str = "", **context: Any) -> Iterator[Any]:
        said: list[str] = []
        fresh = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
        fresh.set_default_timeout(60_000)
        if script:
            fresh.add_init_script(script)
        page = fresh.new_page()
        page.route("**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort())
        page.on("request", lambda request: said.append(request.url) if not _own(request.url) else None)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(path.as_uri())
        yield page
        fresh.close()
        assert said == []

    return open_page


def _own(url: str) -> bool:
    """The page itself, and what it makes of its labels to hand them over as a file."""
    return url.startswith(("file:", "blob:file:", "blob:null"))
