"""The documentation as a site, in a browser: it fits a phone, loads all it shows, and asks nobody else for anything."""

from __future__ import annotations

import base64
import functools
import io
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.run_pages.browser import Browser

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
#: home, one of the API, a tutorial, the results, the widest tables
PAGES = (
    *("index.html", "api/losses.html", "tutorials/clinic_to_masks.html", "distillation.html"),
    *("deploy.html", "choosing.html", "distillation_tables.html"),
)
#: with pictures
PICTURED = (
    "index.html",
    *(f"{file.stem}.html" for file in sorted((ROOT / "docs").glob("*.md")) if "](images/" in file.read_text("utf-8")),
)
LIGHT = "getComputedStyle(document.body).backgroundColor === 'rgb(255, 255, 255)'"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing: a test's output is no log of requests."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the site."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    subprocess.run(build, check=True, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_the_screen_and_stays_on_its_host(browser, site, page, width, dark):
    browser.open(site + page, width, dark)
    # a reader's scheme is the system's, on a second visit too; the script of the page sets it
    browser.wait_for(f"({LIGHT}) === {str(not dark).lower()}", 10)
    needed, there = browser.evaluate("['scrollWidth', 'clientWidth'].map(w => document.documentElement[w])")
    assert needed <= there <= width
    # what is too wide can be scrolled to, and is not cut off
    cut = "[...document.querySelectorAll('article table:not([class])')].filter(t => t.scrollWidth > innerWidth)"
    scrolled = "['auto', 'scroll'].includes(getComputedStyle(t.closest('.md-typeset__scrollwrap') ?? t).overflowX)"
    assert browser.evaluate(f"{cut}.filter(t => !{scrolled}).length") == 0
    missing = browser.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)")
    assert missing == []
    asked = [url for url in browser.requests if not url.startswith(("data:", "blob:"))]
    assert asked and [url for url in asked if not url.startswith(site)] == []
    assert browser.messages == []


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("page", PICTURED)
def test_plots_have_the_ground_of_the_page_and_pictures_of_mri_are_shown_as_they_are(browser, site, page, width):
    shown = {}
    for dark in (False, True):
        browser.open(site + page, width, dark)
        browser.wait_for(f"({LIGHT}) === {str(not dark).lower()}", 10)
        count = browser.evaluate("document.querySelectorAll('article img').length")
        shown[dark] = [picture(browser, number) for number in range(count)]
    assert shown[True] and len(shown[True]) == len(shown[False])
    for light, dark in zip(shown[False], shown[True], strict=True):
        if np.median(light) < 250:
            assert abs(light - dark).max() <= 2
            continue
        # rgb(30, 33, 41), with light ink on it
        assert (np.median(dark, axis=(0, 1)) == [30, 33, 41]).all()
        assert np.median(light, axis=(0, 1)).min() == 255 and dark.max() > 180


def test_a_plot_scrolls_on_a_narrow_screen_so_that_its_words_stay_readable(browser, site):
    browser.open(site + "methods_compared.html", 375, False)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 375
    for name in ("methods-", "sweep-"):
        plot = f"document.querySelector('article img[src*=\"images/{name}\"]')"
        assert browser.evaluate(f"{plot}.getBoundingClientRect().width") == 800
        assert browser.evaluate(f"getComputedStyle({plot}.parentElement).overflowX") == "auto"


def picture(browser: Browser, number: int) -> np.ndarray:
    """What is shown of an image of the text, in colours."""
    image = f"document.querySelectorAll('article img')[{number}]"
    browser.evaluate(f"{image}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    # nothing is measured before the scripts of the page have laid it out
    browser.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    box = browser.evaluate(f"{image}.getBoundingClientRect().toJSON()")
    screen = Image.open(io.BytesIO(base64.b64decode(browser.ask("Page.captureScreenshot", format="png")["data"])))
    # a plot wider than a narrow screen scrolls; what is seen of it counts
    ends = (*screen.size, *screen.size)
    sides = [min(max(round(box[side]), 0), end) for side, end in zip(("left", "top", "right", "bottom"), ends)]
    # its edges may lie between pixels
    return np.asarray(screen.convert("RGB").crop(sides)).astype(int)[2:-2, 2:-2]


def test_names_are_whole_and_no_markup_is_left(browser, site):
    """Neither a line that ends within a name of a table or an option, nor a role of reStructuredText."""
    # text that is broken over lines has a rectangle for each
    lines = "[...document.querySelectorAll('{}')].filter(e => e.getClientRects().length > 1).map(e => e.textContent)"
    for page in PAGES:
        browser.open(site + page, 375)
        assert browser.evaluate(lines.format("article .option")) == []
        assert page != PAGES[0] or browser.evaluate("!!document.querySelector('article .option')")
        assert not [text for text in browser.evaluate(lines.format("article td code")) if re.fullmatch(r"\w+", text)]
        assert re.findall(r":(?:attr|class|data|func|meth|mod):", browser.evaluate("document.body.innerText")) == []


def test_internal_links_lead_somewhere(browser, site):
    links = set()
    for page in PAGES:
        browser.open(site + page)
        links |= set(browser.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.href)"))
    internal = {link for link in links if link.startswith(site)}
    assert len(internal) > 50
    texts = {}
    for address, _, part in (link.partition("#") for link in sorted(internal)):
        if address not in texts:
            # an error status raises
            with urllib.request.urlopen(address, timeout=30) as answer:
                texts[address] = answer.read().decode("utf-8")
        assert not part or f'id="{part}"' in texts[address], f"{address} has no part {part}"
