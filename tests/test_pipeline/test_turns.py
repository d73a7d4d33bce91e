"""Who is shown what, by hand: nobody another's image, a dispute once, what was put off last; and who said what."""

import pytest

from pipeline.run.pool import GIVEN, INITIAL, Pool
from pipeline.session import turns as module
from pipeline.session.sayings import Sayings
from pipeline.session.turns import Turn, Turns


def query(*ids, **more):
    return {"event": "query", "cycle": INITIAL, "ids": list(ids), "scores": [0.0] * len(ids), **more}


def label(sample, class_, annotator="anna"):
    return {"event": "label", "cycle": INITIAL, "labels": [[sample, class_]], "annotator": annotator}


def skip(sample, annotator="anna"):
    return {"event": "skip", "cycle": INITIAL, "ids": [sample], "annotator": annotator}


def undo(sample, annotator="anna"):
    return {"event": "undo", "cycle": INITIAL, "ids": [sample], "annotator": annotator}


class Table:
    """Turns at a pool, and what is said at it."""

    def __init__(self, *asked, overlap=0.0):
        self.pool = Pool(20, [query(*asked)])
        self.turns = Turns(self.pool, 0, overlap)

    def say(self, event):
        self.pool.apply(event)
        if event["event"] != "undo":
            [sample] = event.get("ids") or [event["labels"][0][0]]
            self.turns.answered(sample, event["annotator"])

    def show(self, annotator="anna", **options):
        turn = self.turns.known(annotator, **options)
        self.turns.of(annotator).turn = turn
        return turn and (turn.sample, turn.why)


def test_nobody_is_shown_what_another_has_before_them_until_they_leave_it_lying(monkeypatch):
    table, clock = Table(1, 2), [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    assert [table.show(who) for who in ("anna", "ben", "carl")] == [(1, "left"), (2, "left"), None]
    clock[0] += module.LEASE - 1
    table.turns.of("ben")  # he is still there
    assert table.show("carl") is None
    clock[0] += 2
    assert table.show("carl") == (1, "left")


@pytest.mark.parametrize("event", [label(1, 0, "ben"), skip(1, "ben"), label(1, 0), skip(1)])
def test_what_is_settled_is_shown_no_more(event):
    table = Table(1, 2)
    assert table.show() == (1, "left")
    assert table.turns.current("anna") == Turn(1, "left")
    table.say(event)
    assert table.turns.current("anna") is None


@pytest.mark.parametrize("why", ["undo", "overlap"])
def test_what_others_labelled_is_shown_where_somebody_is_to_say_it_too(why):
    table = Table(1)
    table.turns.of("anna").turn = turn = Turn(1, why)
    table.say(label(1, 0, "ben"))
    assert table.turns.current("anna") == turn
    table.say(label(1, 0))
    assert table.turns.current("anna") is None


def test_a_dispute_is_shown_once_to_all_but_who_spoke_last():
    table = Table(1)
    table.say(label(1, 0))
    table.say(label(1, 1, "ben"))
    assert [table.show(who) for who in ("ben", "anna")] == [None, (1, "disputed")]
    assert table.show("carl") is None  # anna is looking at it
    table.turns.answered(1, "anna")  # she insists
    assert table.turns.current("anna") is None
    assert [table.show(who) for who in ("anna", "ben", "carl")] == [None, None, (1, "disputed")]
    table.say(label(1, 1, "carl"))
    assert table.turns.current("carl") is None
    table.turns.of("carl").turn = None
    table.say(undo(1, "carl"))
    assert table.show("anna") == (1, "disputed")  # it begins anew


def test_what_was_put_off_comes_last_and_not_to_two():
    table = Table(1, 2, 3)
    table.turns.put_off.update((1, 2))
    assert table.show() == (3, "left")
    assert table.turns.put_off_for("anna") == [1, 2]
    table.turns.of("ben").grid = (1,)
    assert table.turns.put_off_for("anna") == [2]
    assert table.turns.last_resort("anna") == Turn(2, "left")
    table.say(label(2, 0))
    assert table.turns.last_resort("anna") is None


def test_labels_to_come_are_those_of_others_that_nobody_gave():
    table = Table(1, 2, 3, 4, overlap=1.0)
    table.say(label(1, 0))
    assert [table.show(who) for who in ("anna", "ben")] == [(2, "left"), (3, "left")]
    assert [table.turns.labels_to_come(who) for who in ("anna", "ben", "carl")] == [1, 1, 2]
    assert table.show("carl", adding=False) == (1, "overlap")
    assert table.turns.labels_to_come("anna") == 1
    table.say(label(3, 0, "dora"))  # ben's
    assert table.turns.labels_to_come("anna") == 0


def test_sayings_are_told_apart_and_the_latest_comes_first():
    said = [label(1, 0, GIVEN), label(2, 0), label(3, 1), label(4, 1), undo(3), label(2, 0), skip(5, "ben")]
    events = [query(1, 2, 3, network=None), query(4, 5, network=0, grid="cat"), *said]
    sayings = Sayings(events[:4])
    sayings.take(events)
    assert sayings.annotators == ["anna", "ben"]
    assert sayings.latest("anna", 9) == [2, 4]
    assert (sayings.latest("anna", 1), sayings.last("anna"), sayings.last("carl")) == ([2], 2, None)
    assert [sayings.asked_by(sample) for sample in (3, 4)] == [None, 0]
    assert sayings.asked(0) == 2
    assert sayings.grid_asked == {4, 5}
    pool = Pool(20, events)
    assert (len(pool.current), sayings.labelled(pool)) == (3, 2)
