"""What keys and the mouse do, and when they count."""

import threading

import pytest
from browser import CHROMIUM, networked, press, ready, says, tiles

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")


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


def test_labels_that_look_wrong_are_looked_at_again_one_by_one(page, desk):
    press(page, "1", then=1)
    press(page, "2", then=2)
    press(page, "1", then=3)
    desk.said["ben", 3], desk.doubtful = "cat", [0, 1, 3]
    desk.more, desk.version = {"doubts": 3}, desk.version + 1
    says(page, "#look-again", "Look again at these 3")
    page.click("#look-again")
    ready(page, 0)
    says(page, "#why", "Look again, 3 images to go: you said cat, all the other labels together say bird.")
    press(page, "1", then=1)  # the same class: it is kept
    assert desk.made("keep") == [("anna", 0)]
    says(page, "#status", "Kept: cat")
    press(page, "3", then=3)  # corrected
    assert [call[:3] for call in desk.calls[-2:]] == [("undo", "anna", 1), ("answer", "anna", 1)]
    says(page, "#why", "Look again, 1 image to go: ben said cat")
    press(page, "2", then=4)  # what somebody else said is not taken back: two say two things now
    assert desk.calls[-1][:4] == ("answer", "anna", 3, "dog")
    says(page, "#why", "Drawn at random")


def test_a_question_of_the_check_set_says_so(page, desk):
    desk.extra[1] = {"why": "check"}
    press(page, "1", then=1)
    says(page, "#why", "Drawn at random to measure accuracy: no network learns from it")


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


def test_near_copies_are_shown_labelled_at_once_and_taken_back_at_once(page, desk):
    desk.copies = {1: [5, 6, 9]}
    press(page, "=")  # nothing: of the first there are none
    assert not page.locator("#open-copies").is_visible()
    press(page, "1", then=1)
    says(page, "#copies-text", "Show 3 near-copies of it, to label all at once")
    press(page, "=")
    tiles(page, 4)
    says(page, "#grid-title", "Which are no copies?")
    assert not page.locator("#confirm-grid").is_visible()
    page.wait_for_timeout(500)
    press(page, "Space ArrowRight ArrowRight Space")  # the one that is asked about stays
    says(page, ".tile:nth-child(1)", "asked about")
    says(page, ".tile:nth-child(3)", "no copy")
    press(page, "2", then=2)
    says(page, "#status", "Saved: 3 × dog")
    ((_, sample, label, right, wrong, seconds),) = desk.made("label_copies")
    assert (sample, label, right, wrong) == (1, "dog", [5, 9], [6])
    assert 0 < seconds < 60
    press(page, "u", then=1)
    says(page, "#status", "Taken back: dog, of 3 images")
    assert desk.made("undo_copies") == [("", 9)]
    assert desk.said == {("anna", 0): "cat"}
    page.click("#open-copies")
    tiles(page, 4)
    press(page, "Escape")
    ready(page, 1)
    press(page, "3", then=2)
    assert desk.said == {("anna", 0): "cat", ("anna", 1): "bird"}


def test_who_chose_the_first_ones_is_said(page, desk):
    desk.asks = {"why": "typical"}
    press(page, "1", then=1)
    says(page, "#why", "Typical of many others, chosen before there is a network")


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
