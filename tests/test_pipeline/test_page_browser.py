"""The page in a real browser: what keys do, and what happens when the server or another tab gets in between."""

import re
import shutil
import threading
import time
from contextlib import contextmanager

import pytest
from page_cases import HOSTILE, FakeDesk, served

from pipeline.page.serve import PageServer

playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")

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

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")


@pytest.fixture(scope="module")
def browser():
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


class Watched:
    """A page, what it asked for and what went wrong in it."""

    def __init__(self, page):
        self.page, self.wrong, self.asked = page, [], []
        page.on("console", lambda message: self.wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))


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
    """Wait until every image of a grid is there."""
    until(page, f"document.querySelectorAll('.tile img').length === {count}")
    until(page, "[...document.querySelectorAll('.tile img')].every((image) => image.naturalWidth)")


def networked(page, desk, **more):
    """Let a network ask."""
    desk.more, desk.version = {"network": {"cycle": 1, "labels": 20, "asked": 3}, **more}, desk.version + 1
    page.wait_for_selector("#open-grid:enabled")


def says(page, selector, part):
    playwright.expect(page.locator(selector)).to_contain_text(part, timeout=PATIENCE)


def test_keys_answer_skip_and_take_back(page, desk):
    press(page, "1", then=1)
    press(page, "s", then=2)
    press(page, "3", then=3)
    press(page, "u", then=2)
    press(page, "2", then=3)
    assert desk.said == {("anna", 0): "cat", ("anna", 1): None, ("anna", 2): "dog"}
    assert all(0 < call[-1] < 60 for call in desk.made("answer") + desk.made("skip"))
    says(page, "#counts li:nth-child(2)", "dog")
    says(page, "#progress-text", "2 labels of 200 images")
    assert page.evaluate("location.href").endswith("/")  # no token in the address
    page.reload()
    ready(page, 3)  # by the cookie


def test_arrows_look_back_and_a_key_corrects(page, desk):
    press(page, "1", then=1)
    press(page, "2", then=2)
    press(page, "ArrowLeft", then=1)
    says(page, "#why", "1 back: you said dog")
    press(page, "ArrowLeft", then=0)
    press(page, "ArrowRight", then=1)
    press(page, "2")
    says(page, "#status", "Unchanged")
    assert len(desk.calls) == 2
    press(page, "3", then=2)  # and back at the question
    assert desk.said == {("anna", 0): "cat", ("anna", 1): "bird"}
    assert [call[:3] for call in desk.calls[2:]] == [("undo", "anna", 1), ("answer", "anna", 1)]
    press(page, "ArrowLeft", then=1)
    press(page, "u")
    says(page, "#why", "Taken back")
    ready(page, 1)
    assert desk.said == {("anna", 0): "cat"}


def test_a_key_that_is_held_or_hit_twice_answers_once(page, desk):
    held = "document.dispatchEvent(new KeyboardEvent('keydown', {key: '1', repeat: %s, bubbles: true}))"
    page.evaluate(f"{held % 'false'}; {held % 'false'}")
    ready(page, 1)
    page.evaluate(held % "true")
    press(page, "2", then=2)
    assert [call[1:3] for call in desk.made("answer")] == [(0, "cat"), (1, "dog")]


def test_no_key_counts_before_its_image_is_seen(page, desk):
    picture, slowly = desk.picture, threading.Event()

    def slow(sample, side):
        assert sample != 3 or slowly.wait(30)
        return picture(sample, side)

    desk.picture = slow
    press(page, "1", then=1)
    press(page, "1", then=2)
    press(page, "1")
    says(page, "#name", "0003")
    press(page, "2 2 s")
    assert page.locator("#image").get_attribute("class") in ("", "pixels")  # not seen
    slowly.set()
    ready(page, 3)
    press(page, "3", then=4)
    assert [call[3] for call in desk.calls] == ["cat", "cat", "cat", "bird"]


def test_keys_mean_what_is_printed_on_them_and_nothing_with_control(page, desk):
    page.keyboard.press("Control+1")
    event = "document.dispatchEvent(new KeyboardEvent('keydown', {key: %r, code: %r, bubbles: true}))"
    page.evaluate(event % ("o", "KeyS"))  # Dvorak: an o is no s
    page.evaluate(event % ("&", "Digit1"))  # French: digits need shift
    ready(page, 1)
    page.evaluate(event % ("ы", "KeyS"))
    ready(page, 2)
    assert desk.said == {("anna", 0): "cat", ("anna", 1): None}


def test_classes_are_added_and_commands_are_no_letters_while_one_writes(watched, desk):
    page = watched.page
    press(page, "n")
    page.keyboard.type("snug +1")
    page.keyboard.press("Enter")
    says(page, "#classes", "snug +1")
    press(page, "4", then=1)
    assert desk.said == {("anna", 0): "snug +1"}
    press(page, "+")
    page.keyboard.type("cat")
    page.keyboard.press("Enter")
    says(page, "#class-error", "There is a class cat already")
    page.keyboard.press("Escape")
    assert desk.made("class") == [("snug +1",), ("cat",)]
    watched.wrong.clear()  # the browser notes every status 409


def test_a_key_right_after_a_dialog_is_not_lost(page, desk):
    press(page, "n")
    page.evaluate(
        "document.querySelector('#class-dialog [data-close]').click();"
        "document.getElementById('class-name').dispatchEvent(new KeyboardEvent('keydown', {key: '1', bubbles: true}))"
    )
    ready(page, 1)
    assert desk.said == {("anna", 0): "cat"}


def test_predictions_are_hidden_until_asked_for(page, desk):
    desk.asks = {"prediction": {"label": "dog", "probability": 0.62}, "asked_by": 1, "milliseconds": 41.3}
    desk.more = {"network": {"cycle": 1, "labels": 20, "asked": 3}}
    press(page, "1", then=1)
    says(page, "#why", "Re-ranked in 41 ms by the network that learned from 20 labels")
    assert "62" not in page.locator("body").inner_text()
    press(page, "p")
    says(page, "#guess", "The network predicts dog, 62\u00a0%")


def test_the_grid_by_keys(page, desk):
    networked(page, desk)
    press(page, "g 2")
    tiles(page, 24)
    says(page, "#grid-hint", "The network takes all of them for dog and may be wrong: look at each")
    says(page, "#confirm-grid", "Label 24 images as dog")
    press(page, "Enter Enter")  # a key that is hit twice too often
    says(page, "#status", "Look at each first")
    page.wait_for_timeout(500)
    press(page, "ArrowRight Space ArrowDown Space")
    says(page, "#confirm-grid", "Label 22 images as dog")  # every one that is not marked
    press(page, "ArrowUp ArrowLeft Enter")
    says(page, "#status", "Saved: 22 × dog; 2 stay open")
    ((_, label, right, wrong, seconds),) = desk.made("confirm")
    assert (label, len(right), wrong[0], len(wrong)) == ("dog", 22, 198, 2)
    assert not set(right) & set(wrong)
    assert 0 < seconds < 60
    press(page, "g", then=0)


def test_a_mouse_does_what_keys_do(page, desk):
    page.click("#classes button:nth-child(2)")
    ready(page, 1)
    page.click("#skip")
    ready(page, 2)
    page.click("#undo")
    ready(page, 1)
    networked(page, desk)
    page.click("#open-grid")
    page.click("#grid-classes button:first-child")
    page.click(".tile:nth-child(3)")
    tiles(page, 24)
    page.wait_for_timeout(500)
    page.click("#confirm-grid")
    says(page, "#status", "Saved: 23 × cat")
    assert desk.made("confirm")[0][3] == [197]


def test_without_a_class_it_says_how_to_add_one(page, desk):
    desk.classes.clear()
    desk.version += 1
    says(page, "#why", "There is no class yet: press n to add the first")
    press(page, "n")
    page.keyboard.type("cat")
    press(page, "Enter")
    says(page, "#why", "Drawn at random")


def test_without_a_network_it_says_what_goes_on(page, desk):
    says(page, "#network", "The first one learns from 20 labels, and asks some seconds to minutes later.")
    training = {"stage": "start", "done": None, "labels": 90}
    asks = {"cycle": 1, "labels": 40, "asked": 7}
    for more, network, line in (
        ({"training": training, "opening": True}, "It is opened again", "It, from 90 labels: starting"),
        ({"training": training, "opening": False}, "The first one is being made. Until it asks", "starting"),
        (
            {"training": {**training, "stage": "score"}, "network": asks},
            "asks learned from 40",
            "The next one, from 90",
        ),
        (
            {"finished": FINISHING, "network": asks, "training": training},
            "The one that asked learned from 40",
            "The last one",
        ),
        ({"finished": {**FINISHING, "going_on": False}, "network": asks}, "The last one learned from 40 labels", ""),
    ):
        desk.more, desk.version = more, desk.version + 1
        says(page, "#network", network)
        says(page, "#training", line)
    assert not re.search("linearis|porting|[Nn]etwork [0-9]", page.locator("body").inner_text())


def test_accuracy_that_was_not_measured_yet_is_told_from_none(page, desk):
    says(page, "#accuracy-hint", "No held-out images with labels: accuracy is not claimed. To have it measured, hold")
    desk.more, desk.version = {"held_out": 1000, "how_to_measure": None}, desk.version + 1
    says(page, "#accuracy-hint", "Measured on 1,000 held-out images once there is a network.")
    assert "not claimed" not in page.locator("#panel").inner_text()


def test_what_cannot_be_done_yet_is_not_offered(page, desk):
    for node in ("#open-grid", "#back", "#undo", "#forward"):
        assert page.locator(node).is_disabled(), node
    press(page, "g")
    says(page, "#status", "There is no network yet: label one by one first")
    assert page.locator("#label").is_visible()
    press(page, "1", then=1)
    assert page.locator("#undo").is_enabled()
    assert page.locator("#back").is_enabled()
    press(page, "u", then=0)
    page.wait_for_selector("#undo:disabled")  # there is nothing left to take back
    networked(page, desk)
    press(page, "g")
    assert page.locator("#grid").is_visible()


def test_help_shows_the_keys_there_are(page, desk):
    press(page, "?")
    assert page.locator("#class-keys").inner_text().split() == ["1", "2", "3"]
    page.keyboard.press("Escape")
    desk.more = {"classes": [{"name": digit, "key": digit, "count": 0} for digit in "0123456789"]}
    desk.version += 1
    says(page, "#classes", "9")
    press(page, "?")
    assert page.locator("#class-keys").inner_text().split() == ["0", "…", "9"]


def test_notes_are_folded_and_warnings_can_be_closed(page, desk):
    note, warning = "3 files cannot be read", "the network of 20 labels could not be made"
    desk.more, desk.version = {"notes": [note, "and this"], "warnings": [warning, "a second"]}, desk.version + 1
    says(page, "#notes-title", "2 notes on the data")
    assert page.locator("#notes li").first.is_hidden()
    page.click("#notes-title")
    says(page, "#notes", note)
    page.locator("#warnings button").first.click()
    assert page.locator("#warnings").inner_text().split("×")[0].strip() == "a second"
    desk.version += 1
    page.wait_for_timeout(2500)  # it stays closed
    assert warning not in page.locator("#warnings").inner_text()


def test_finishing_asks_first_and_shows_what_was_made_and_what_comes_next(watched, desk, tmp_path):
    page = watched.page
    press(page, "1", then=1)
    page.click("#open-finish")
    says(page, "#finish-text", "Only labels.csv is written: without labels of two classes")
    page.keyboard.press("Escape")
    press(page, "2", then=2)
    page.click("#open-finish")
    says(page, "#finish-text", "A last network learns from all labels")
    desk.folder = tmp_path
    (tmp_path / "labels.csv").write_text("path,label\n")
    page.click("#finish")
    says(page, "#products", "predictions.csv")
    names = page.locator("#products a").all_inner_texts()
    assert names == ["README.md", "labels.csv", "predictions.csv", "model/"]
    says(page, "#folder", str(tmp_path))
    says(page, "#next", "Ctrl-C ends this page")
    says(page, "#next", "To go on labelling:")
    says(page, "#next code", "pipeline label runs/photos")
    with page.expect_download() as saved:
        page.click("text=labels.csv")
    assert saved.value.suggested_filename == "labels.csv"
    press(page, "1")
    assert [call[0] for call in desk.calls] == ["answer", "answer", "finish"]


def test_a_page_that_is_finished_raises_no_alarm_when_its_server_ends(watched, server, desk):
    page = watched.page
    page.click("#open-finish")
    page.click("#finish")
    says(page, "#products", "labels.csv")
    server.stop()
    says(page, "#trouble", "The server has ended. The files are where they were")
    watched.wrong.clear()  # the browser notes every connection that failed


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


@contextmanager
def again(server, desk):
    with PageServer(desk, server.port) as second:
        yield second


@pytest.mark.parametrize("lost", ["the request", "the acknowledgement"])
def test_an_answer_survives_the_servers_death_and_arrives_once(watched, profile, server, desk, lost):
    page = watched.page
    if lost == "the request":
        server.stop()
    else:
        page.route("**/answer", lambda route: (route.fetch(), route.abort()), times=1)
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


def test_names_are_text_whatever_they_are(page, desk):
    desk.names[1] = HOSTILE
    desk.add_class(HOSTILE)
    desk.more = {"notes": [HOSTILE], "warnings": [HOSTILE], "run": f"runs/{HOSTILE}"}
    desk.texts[2] = f"{HOSTILE} to read"
    desk.extra[1] = {"said": [{"annotator": HOSTILE, "label": HOSTILE}], "why": "disputed"}
    press(page, "1", then=1)
    page.click("#notes-title")
    for selector in ("#name", "#classes button:nth-child(4)", "#counts", "#notes", "#warnings", "#why", "#run"):
        says(page, selector, HOSTILE.split("/")[-1])
    assert page.get_attribute("#image", "alt") == HOSTILE
    press(page, "4", then=2)
    says(page, "#reading", f"{HOSTILE} to read")
    assert page.locator("#image").is_hidden()
    assert page.locator("img[onerror], img[src=x]").count() == 0
    press(page, "ArrowLeft", then=1)
    says(page, "#why", f"you said {HOSTILE}")
    assert desk.said["anna", 1] == HOSTILE


def test_an_image_that_does_not_come_can_be_skipped_but_not_labelled(watched, desk):
    page, picture = watched.page, desk.picture
    desk.picture = lambda sample, side: picture(-1 if sample == 3 else sample, side)
    for sample in (1, 2, 3):
        press(page, "1", then=sample)
    says(page, "#missing", "cannot be shown")
    press(page, "1")
    says(page, "#status", "skip it")
    press(page, "s", then=4)
    assert desk.said["anna", 3] is None
    watched.wrong.clear()  # the browser notes every status 404


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


def test_a_hidden_tab_and_a_closed_laptop_are_no_time(page):
    script = """async () => {
        const { Clock } = await import("/static/clock.js");
        let now = 0;
        const clock = new Clock(() => now);
        clock.start();
        now = 900; clock.beat();
        now = 1800; clock.seen(false);
        now = 500000; clock.seen(true);
        now = 500200; clock.beat();
        now = 90000000;                  // the lid was closed: no beat for a day
        return clock.seconds();
    }"""
    assert page.evaluate(script) == 1.8 + 0.2 + 3


def test_four_hundred_pixels_are_enough(watched, server, desk):
    page = watched.page
    desk.names[1] = "photos/" + "a_very_long_name_without_a_blank" * 4 + ".png"
    desk.add_class("W" * 64)
    page.set_viewport_size({"width": 400, "height": 800})
    press(page, "1", then=1)
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) == 400
    for node in ("#image", "#classes button:last-child", "#skip"):
        box = page.locator(node).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 400
    networked(page, desk)
    press(page, "g 1")
    page.wait_for_selector(".tile")
    assert page.evaluate(wide) == 400


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


@pytest.mark.parametrize("size", [(1280, 800), (400, 800)])
def test_ten_classes_and_all_moves_are_in_sight_whatever_is_said(watched, server, desk, size):
    page = watched.page
    page.set_viewport_size({"width": size[0], "height": size[1]})
    digits = [{"name": digit, "key": digit, "count": 1} for digit in "0123456789"]
    desk.more = {"classes": digits, "notes": ["a note that is long"] * 6, "warnings": ["something failed"] * 2}
    desk.version += 1
    says(page, "#classes", "9")
    keys = [f"#classes button:nth-child({n})" for n in range(1, 11)]
    seen(page, "#image", *keys, "#undo", "#skip", "#open-class", "#open-finish")
    hints = page.locator("#classes kbd").first.is_visible()
    assert hints == (size[0] > 480)  # a phone has no keys
    if size[0] > 860:
        seen(page, *(f"#counts li:nth-child({n})" for n in range(1, 11)))
        server.stop()
        says(page, "#trouble", "does not answer")
        seen(page, *keys, "#undo", "#skip")
        watched.wrong.clear()  # the browser notes every connection that failed


def test_answers_leave_no_elements_behind(page, desk):
    press(page, "1", then=1)
    count = "document.querySelectorAll('*').length"
    before = page.evaluate(count)
    for sample in range(2, 25):
        press(page, str(sample % 3 + 1), then=sample)
    assert page.evaluate(count) == before
    assert len(desk.said) == 24
    assert len(desk.made("answer")) == 24


def test_each_tab_has_its_annotator(page, desk):
    page.fill("#annotator", "ben")
    page.keyboard.press("Tab")
    says(page, "#status", "You are ben")
    ready(page, 0)
    page.locator("#annotator").blur()
    press(page, "1", then=1)
    assert list(desk.said) == [("ben", 0)]
    page.reload()
    ready(page, 1)
    assert page.input_value("#annotator") == "ben"


def test_tiny_images_show_their_pixels_and_elements_have_names(page):
    assert page.evaluate("getComputedStyle(document.getElementById('image')).imageRendering") == "pixelated"
    assert page.get_attribute("#image", "alt") == "photos/IMG 0000.png"
    tree = page.locator("body").aria_snapshot()
    for part in (r'button "1 cat', r'progressbar "Labels"', r'img "photos/IMG 0000.png"', "- status", 'textbox "Name"'):
        assert re.search(part, tree), tree
