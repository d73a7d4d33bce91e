"""What the page says and offers, and whether it fits."""

import re

import pytest
from browser import CHROMIUM, FINISHING, networked, press, says, seen
from page_cases import HOSTILE

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")


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


def test_labels_of_the_check_set_are_counted_beside_the_others(page, desk):
    desk.more = {"labelled": 73, "skipped": 2, "check": {"size": 60, "answered": 20, "told": "20 of 60"}}
    desk.version += 1
    says(page, "#tally", "and 20 of the check set · 2 skipped")


def test_advice_stands_beside_the_accuracy_with_what_it_rests_on(page, desk):
    assert not page.locator("#advice").is_visible()
    assert not page.locator("#doubts").is_visible()
    accuracy = {"value": 0.8, "low": 0.614, "high": 0.923, "images": 30, "labels": 60, "of": "check"}
    advice = {"verdict": "cannot tell yet", "reason": "100 labels more would bring +2.0 points"}
    advice |= {"lines": ["+20 labels: 81.0 % (95 % band 60.0 % to 92.0 %)"], "rests_on": "this run's own accuracies"}
    desk.more = {"check": {"told": "30 of 60 images labelled, 30 to come"}, "accuracy": accuracy, "advice": advice}
    desk.version += 1
    says(page, "#accuracy-hint", "61 % to 92 %, on 30 check images, after 60 labels".replace(" %", "\u00a0%"))
    says(page, "#check-set", "Check set: 30 of 60 images labelled, 30 to come.")
    says(page, "#advice", "Cannot tell yet: 100 labels more would bring +2.0 points.")
    says(page, "#advice-lines", "+20 labels: 81.0 % (95 % band 60.0 % to 92.0 %)")
    page.click("#advice summary")
    says(page, "#advice-basis", "Rests on this run's own accuracies.")
    desk.more, desk.version = {"check": {"told": "0 of 60 images labelled, 60 to come"}}, desk.version + 1
    says(page, "#accuracy-hint", "Measured on the check images that have a label, once there is a network.")


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


def test_tiny_images_show_their_pixels_and_elements_have_names(page):
    assert page.evaluate("getComputedStyle(document.getElementById('image')).imageRendering") == "pixelated"
    assert page.get_attribute("#image", "alt") == "photos/IMG 0000.png"
    tree = page.locator("body").aria_snapshot()
    for part in (r'button "1 cat', r'progressbar "Labels"', r'img "photos/IMG 0000.png"', "- status", 'textbox "Name"'):
        assert re.search(part, tree), tree
