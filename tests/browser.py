"""Chromium for the tests of the page: what is done in it again and again, and waited for."""

import shutil
import time
from contextlib import contextmanager

from pipeline.page.serve import PageServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP evil.example 127.0.0.1",
]
FINISHING = {"going_on": True, "stage": "a last network learns"}
PATIENCE = 60_000  # milliseconds: an end to what hangs, no measure of speed


class Watched:
    """A page, what it asked for and what went wrong in it."""

    def __init__(self, page):
        self.page, self.wrong, self.asked = page, [], []
        page.on("console", lambda message: self.wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))


def ready(page, sample):
    """Wait until keys count for a sample."""
    page.wait_for_selector(f'body[data-ready="{sample}"]:not([data-busy])')


def press(page, keys, then=None):
    for key in keys.split():
        page.keyboard.press(key)
    if then is not None:
        ready(page, then)


def until(page, script):
    """Wait for an expression; Playwright's own way needs an eval, which the policy forbids."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not (value := page.evaluate(script)):
        assert time.monotonic() < deadline, script
        page.wait_for_timeout(20)
    return value


def tiles(page, count):
    """Wait until every image of a grid is there; those of the grid before stay in the hidden one until it is drawn."""
    page.wait_for_selector('body[data-view="grid"]:not([data-busy])')
    until(page, f"document.querySelectorAll('.tile img').length === {count}")
    until(page, "[...document.querySelectorAll('.tile img')].every((image) => image.naturalWidth)")


def networked(page, desk, **more):
    """Let a network ask."""
    desk.more, desk.version = {"network": {"cycle": 1, "labels": 20, "asked": 3}, **more}, desk.version + 1
    page.wait_for_selector("#open-grid:enabled")


def says(page, selector, part):
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_contain_text(part, timeout=PATIENCE)


def seen(page, *nodes):
    """Assert that nodes are within the window as it is, without scrolling, and nothing covers them."""
    window = page.viewport_size
    for node in nodes:
        box = page.locator(node).bounding_box()
        assert box["y"] >= 0, node
        assert box["y"] + box["height"] <= window["height"], (node, box)
        middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
        inside = "([x, y, node]) => document.querySelector(node).contains(document.elementFromPoint(x, y))"
        assert page.evaluate(inside, [*middle, node]), node


@contextmanager
def again(server, desk):
    with PageServer(desk, server.port) as second:
        yield second
