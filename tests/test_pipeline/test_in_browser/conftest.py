"""The page in a real browser, before a desk that is made up."""

import pytest
from browser import ARGUMENTS, CHROMIUM, PATIENCE, Watched, ready
from page_cases import FakeDesk, served


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def desk():
    return FakeDesk()


@pytest.fixture
def server(desk):
    with served(desk) as started:
        yield started


@pytest.fixture
def profile(browser):
    """Cookies of its own."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def watched(profile, server):
    """The page, opened by its link and ready; at its end nothing may have gone wrong."""
    seen = Watched(profile.new_page())
    seen.page.goto(server.access.link())
    ready(seen.page, 0)
    yield seen
    assert seen.wrong == []


@pytest.fixture
def page(watched):
    return watched.page
