"""Who said what: the last word of each annotator, read from the events."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.products.labels import status_of
from pipeline.run.pool import Pool
from pipeline.run.votes import Say, Votes, classes_now


def log(*events):
    return [{"event": kind, **fields} for kind, fields in events]


def label(round_, labels, annotator, **more):
    return "label", {"cycle": round_, "labels": labels, "annotator": annotator, **more}


def skip(round_, ids, annotator, reasons=None):
    return "skip", {"cycle": round_, "ids": ids, "annotator": annotator, "reasons": reasons or [""] * len(ids)}


def undo(round_, ids, annotator):
    return "undo", {"cycle": round_, "ids": ids, "annotator": annotator}


def test_the_last_word_of_each_counts():
    votes = Votes(
        log(
            label(-1, [[3, 0], [4, 1]], "anna", seconds=[2.0, None], time=["t1", "t2"]),
            label(-1, [[3, 1], [5, 2]], ["ben", "carl"], seconds=[1.5, 4.0]),
            label(0, [[3, 2]], "anna", seconds=[1.0]),
            skip(0, [4], "anna"),
        )
    )
    assert votes.in_force(3) == {"ben": Say(1, -1, None), "anna": Say(2, 0, None)}
    assert list(votes.in_force(3)) == ["ben", "anna"]  # who spoke last is last
    assert votes.in_force(4) == {"anna": Say(1, -1, "t2")}  # a skip takes no label back, only an undo does
    assert votes.in_force(6) == {}
    assert votes.seconds == {3: 4.5, 5: 4.0}
    assert votes.answers == {"anna": [2.0, 1.0], "ben": [1.5], "carl": [4.0]}


def test_what_is_undone_is_not_said():
    votes = Votes(
        log(
            label(-1, [[3, 0], [4, 1]], "anna"),
            skip(-1, [3], "ben"),
            undo(-1, [3], "anna"),
            undo(-1, [3], "ben"),
            undo(-1, [9], "ben"),  # of what nobody said
            label(-1, [[3, 2], [5, 0]], "anna"),
            undo(-1, [5], "anna"),
            label(-1, [[5, 1]], "ben"),  # with whom nobody differs any more
        )
    )
    assert votes.in_force(3) == {"anna": Say(2, -1, None)}
    assert votes.undone == {"anna": 2, "ben": 1}
    assert votes.independent == {3: {"anna": 2}, 4: {"anna": 1}, 5: {"ben": 1}}
    assert votes.differing == set()


def test_agreement_counts_what_was_said_before_anybody_was_shown_a_dispute():
    votes = Votes(
        log(
            label(-1, [[3, 0], [3, 1], [3, 2], [4, 0]], ["anna", "ben", "carl", "anna"]),  # a file: nobody saw another
            label(-1, [[4, 1]], "ben"),
            label(0, [[3, 1], [4, 1]], "anna"),  # who now sees what ben said
            label(0, [[4, 1]], "carl"),  # who is shown the dispute
            undo(0, [3], "ben"),
        )
    )
    assert votes.independent == {3: {"anna": 0, "ben": 1, "carl": 2}, 4: {"anna": 0, "ben": 1}}
    assert votes.differing == {3, 4}
    assert votes.in_force(4) == {"ben": Say(1, -1, None), "anna": Say(1, 0, None), "carl": Say(1, 0, None)}


@given(
    st.lists(
        st.tuples(st.sampled_from(["label", "skip", "undo", "close"]), st.integers(0, 2), st.sampled_from("ab")),
        max_size=25,
    )
)
def test_what_is_in_force_is_what_the_pool_trains_on(steps):
    """A round is closed now and then, so that an annotator may say another thing of the same sample."""
    events = log(("query", {"cycle": -1, "ids": [0, 1, 2], "scores": [0.0] * 3}))
    pool, round_ = Pool(3, events), -1
    for number, (kind, sample, who) in enumerate(steps):
        if kind == "label" and pool.said(sample, who, round_) is None:
            event = label(round_, [[sample, number % 3]], who)
        elif kind == "skip":
            event = skip(round_, [sample], who)
        elif kind == "undo" and pool.said_anything(sample, who):
            event = undo(round_, [sample], who)
        elif kind == "close":
            event = "round_closed", {"cycle": round_, "answered": 0, "skipped": [], "left": []}
            round_ += 1
        else:
            continue
        events += log(event)
        pool.apply(events[-1])
    votes = Votes(events)
    for sample in range(3):
        says = votes.in_force(sample)
        assert {who: say.label for who, say in says.items() if say.label is not None} == pool.votes(sample)
        status, counts = status_of(says, pool.known().get(sample)) if says else ("nothing", None)
        assert counts == pool.known().get(sample)
        assert (status == "disputed") == (sample in pool.disputed)
        assert (status == "skipped") == pool.left_out(sample)


def test_who_asked():
    votes = Votes(
        log(
            ("query", {"cycle": -1, "ids": [1], "scores": [0.0]}),
            ("query", {"cycle": 2, "ids": [2], "scores": [0.0]}),
            ("query", {"cycle": 2, "ids": [3], "scores": [0.0], "network": 1}),
            ("query", {"cycle": 2, "ids": [4], "scores": [0.0], "network": None}),
        )
    )
    assert votes.asked_by == {1: None, 2: 2, 3: 1, 4: None}


def test_logs_of_older_versions_do_not_say_who():
    events = [{"event": "label", "cycle": -1, "labels": [[3, 0]]}]
    assert Votes(events).in_force(3) == {"simulated": Say(0, -1, None)}


def test_added_classes_follow_those_of_the_data_once():
    events = log(("class_added", {"cycle": 0, "name": "cow"}), ("class_added", {"cycle": 1, "name": "ox"}))
    assert classes_now(("cat", "dog"), events) == ("cat", "dog", "cow", "ox")
    assert classes_now(("cat", "dog", "cow"), events) == ("cat", "dog", "cow", "ox")  # data that has one already
