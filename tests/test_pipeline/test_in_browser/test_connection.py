"""What happens when the server, another tab or another page gets in between."""

from contextlib import suppress

import pytest
from browser import CHROMIUM, again, networked, press, ready, says, until
from page_cases import FakeDesk, served

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")


def test_a_tab_moves_on_when_another_one_answers(page, profile, server, desk):
    other = profile.new_page()
    other.goto(f"http://127.0.0.1:{server.port}/")  # the cookie is the profile's
    ready(other, 0)
    press(other, "1", then=1)
    page.bring_to_front()
    ready(page, 1)
    press(page, "2", then=2)
    assert desk.said == {("anna", 0): "cat", ("anna", 1): "dog"}


def test_what_the_desk_refuses_is_said_and_the_question_loaded(watched, desk):
    page = watched.page
    desk.said["ben", 0] = desk.said["anna", 0] = "bird"  # behind the page's back
    press(page, "1")
    says(page, "#status", "answered already")
    ready(page, 1)
    watched.wrong.clear()  # the browser notes every status 409


class LosesTheFirstAnswer:
    """Lets the server take a request and the page hear nothing.

    Playwright's own ``times=1`` ends the interception while the request is held, and the browser may then send it on.
    """

    def __init__(self):
        self.lost = 0

    def __call__(self, route):
        from playwright.sync_api import Error

        if self.lost:
            route.continue_()
            return
        self.lost += 1
        with suppress(Error):  # a server that stops at once may cut it off itself
            route.fetch()
        route.abort()


@pytest.mark.parametrize("lost", ["the request", "the acknowledgement"])
def test_an_answer_survives_the_servers_death_and_arrives_once(watched, profile, server, desk, lost):
    page = watched.page
    if lost == "the request":
        server.stop()
    else:
        page.route("**/answer", LosesTheFirstAnswer())
        desk.after = lambda: setattr(server._server, "should_exit", True)
    press(page, "2")
    says(page, "#trouble", "Perhaps not saved. The server does not answer; trying again")
    press(page, "1 1 s u")  # nothing else counts meanwhile
    server.stop()
    desk.after = None
    with again(server, desk) as second:
        says(page, "#trouble", "The server was started again: open the link that it printed")
        profile.new_page().goto(second.access.link())
        page.bring_to_front()
        ready(page, 1)
        assert page.locator("#trouble").is_hidden()
        press(page, "3", then=2)
    assert desk.said == {("anna", 0): "dog", ("anna", 1): "bird"}
    assert desk.version == 2
    watched.wrong.clear()  # the browser notes every connection that failed


def test_an_answer_that_is_neither_taken_nor_refused_is_perhaps_not_saved(watched):
    """A connection may hang for a minute before it fails."""
    page, held = watched.page, []
    page.route("**/answer", lambda route: held.append(route))  # neither sent nor refused
    page.clock.install()
    press(page, "2")
    while not held:
        page.wait_for_timeout(20)
    page.clock.run_for(6000)
    says(page, "#trouble", "Perhaps not saved. The server does not answer yet; waiting")
    held[0].continue_()
    ready(page, 1)
    assert page.locator("#trouble").is_hidden()
    watched.wrong.clear()  # the browser notes every connection that failed


def test_a_page_whose_server_was_stopped_says_how_to_start_it_again(watched, server):
    page = watched.page
    page.clock.install()
    server.stop()
    press(page, "2")
    says(page, "#trouble", "Perhaps not saved. The server does not answer; trying again")
    for _ in range(12):
        page.clock.run_for(1000)
        page.wait_for_timeout(20)
    says(page, "#trouble", "start it again in the terminal (pipeline label runs/photos) and open the new link")
    watched.wrong.clear()  # the browser notes every connection that failed


def test_a_tab_of_another_run_loads_itself_again(watched, profile, server):
    page, others = watched.page, FakeDesk(run="runs/others", images=9)
    server.stop()
    with again(server, others) as second:
        profile.new_page().goto(second.access.link())
        page.bring_to_front()
        press(page, "1")
        says(page, "#run", "others")
        ready(page, 0)
        assert others.calls == []
        press(page, "2", then=1)
        assert others.said == {("anna", 0): "dog"}
    watched.wrong.clear()


def test_a_link_works_once_and_says_so(browser, profile, server, page):
    page.click("#open-link")
    link = until(page, "document.getElementById('link').value")
    for title in ("photos", "label"):
        context = browser.new_context()
        visitor = context.new_page()
        visitor.goto(link)
        says(visitor, "#run", title)
        if title == "label":
            says(visitor, "#gate", "This link was used already")
            says(visitor, "#gate", "'link for another browser'")
        context.close()
    context = browser.new_context()
    visitor = context.new_page()
    visitor.goto(f"http://127.0.0.1:{server.port}/")
    says(visitor, "#gate", "Open the link that the command printed")
    context.close()


def test_nobody_else_is_asked_and_nothing_breaks_the_policy(watched, server, desk):
    page = watched.page
    press(page, "1", then=1)
    networked(page, desk)
    press(page, "g 1")
    page.wait_for_selector(".tile img")
    press(page, "Escape ? Escape", then=1)
    assert len(watched.asked) > 10
    ours = f"http://127.0.0.1:{server.port}/"
    assert [url for url in watched.asked if not url.startswith((ours, "data:"))] == []
    assert page.evaluate("document.querySelectorAll('[style], script:not([src]), style').length") == 0


def test_a_name_that_was_rebound_to_this_machine_gets_nothing(profile, server, desk):
    page = profile.new_page()
    response = page.goto(f"http://evil.example:{server.port}/")
    assert response.status == 421
    for path in ("/state", "/static/page.js"):
        assert page.evaluate(f"fetch('{path}').then((response) => response.status)") == 421
    posted = "fetch('/finish', {method: 'POST', body: '{}', headers: {'content-type': 'application/json'}})"
    assert page.evaluate(f"{posted}.then((response) => response.status)") == 421
    assert desk.calls == []


def test_another_port_of_this_machine_can_neither_read_nor_write(profile, page, server, desk):
    with served(FakeDesk()) as other:
        foreign = profile.new_page()
        foreign.goto(f"http://127.0.0.1:{other.port}/")
        ours = f"http://127.0.0.1:{server.port}"
        script = f"fetch('{ours}/finish', {{method: 'POST', mode: 'no-cors', body: '{{}}', credentials: 'include'}})"
        assert foreign.evaluate(f"{script}.then(() => 'sent', () => 'blocked')") == "blocked"
        assert desk.calls == []
