"""What ends a labelling session, or keeps it from going on: nothing that was said is lost by it."""

import errno

import numpy as np
import pytest
from session_cases import LOOKS_AHEAD, answer, ask, make, network, opened, until

from pipeline.run.pool import Pool
from pipeline.run.rundir import read_events
from pipeline.session.desk import DeskError


def kinds(path, *names):
    return [event for event in read_events(path) if event["event"] in names]


def test_a_budget(tmp_path):
    path = make(tmp_path / "run", query__n_init=50, annotator__budget=3)
    with opened(path) as session:
        answer(session, 3)
        done = ask(session)
        assert (done["kind"], done["reason"]) == ("done", "budget")
        session.undo("anna", None)
        assert ask(session)["kind"] == "question"


def test_everything_was_asked(tmp_path):
    images, labels = np.zeros((9, 8, 8), np.uint8), np.full(9, -1)
    images += np.arange(9, dtype=np.uint8)[:, None, None] * 20
    labels[8] = 0
    np.savez(tmp_path / "x.npz", X=images, y=labels)
    name = f"npz:{tmp_path / 'x.npz'}"
    options = {"data__name": name, "data__classes": ["dark", "bright"], "data__test_fraction": 0.0}
    path = make(tmp_path / "run", query__n_init=20, **options)
    with opened(path) as session:
        assert kinds(path, "label")[0]["annotator"] == "given"
        for _ in range(8):
            session.answer("anna", ask(session)["sample"], "bright", 1.0)
        assert ask(session)["reason"] == "pool"


def test_a_network_that_fails_is_tried_again_and_then_done_without(tmp_path, monkeypatch):
    from pipeline.errors import RunFailedError

    def fails(*arguments, **options):
        raise RunFailedError("no")

    monkeypatch.setattr("pipeline.session.child.run_train", fails)
    path, warnings = make(tmp_path / "run"), []
    with opened(path, warnings) as session:
        answer(session, 12)
        until(session, lambda state: len(state["warnings"]) >= 2 and not state["training"])
        answer(session, 2)  # labelling goes on
        monkeypatch.undo()
        answer(session, 2)
        shown = until(session, network(1))["warnings"]
        assert not any("trying again" in line for line in shown)
    with opened(path) as session:  # a network that is missing is no sign of a log that was cut back
        until(session, network(1))
    assert [event["reason"] for event in kinds(path, "failed")] == ["no"]
    assert any("trying again" in warning for warning in warnings)


def test_a_lost_network_is_opened_again(tmp_path):
    path, warnings = make(tmp_path / "run", query__size=30), []
    with opened(path, warnings) as session:
        answer(session, 12)
        until(session, network(0))
        answer(session, 2)
        session.clerk.networks._serving.stop()
        answer(session, 2)
        shown = until(session, network(0))["warnings"]
        assert not any("opened again" in line for line in shown)  # that is over: nobody has to look at it any more
    assert any("opened again" in warning for warning in warnings)
    assert not [event for event in read_events(path) if event["event"] == "failed"]


@pytest.mark.long
def test_the_end(tmp_path):
    path, news = make(tmp_path / "run", query__size=30), []
    with opened(path, news=news) as session:
        answer(session, 12)
        until(session, network(0))
        answer(session, 3)
        assert not news
        session.finish()
        session.finish()  # sent twice
        state = until(session, lambda state: state["finished"] and not state["finished"]["going_on"])
        assert state["finished"]["products"][:3] == ["README.md", "labels.csv", "predictions.csv"]
        assert state["finished"]["folder"] == str((path / "products").resolve())
        steps = [step["command"] for step in state["finished"]["next"]]
        assert steps == [
            f"pipeline predict {path}/products/model new_photos --out new.csv",
            f"pipeline report {path}",
            f"pipeline label {path}",
        ]
        assert news[0] == "finishing: a last network learns from every label, then the products are made"
        files = "README.md, labels.csv, predictions.csv, model/, products.json, review.csv"
        assert news[1] == f"finished: {files} are in {path / 'products'}"
        assert [line.partition(": ")[2] for line in news[2:5]] == steps
        assert news[5:] == ["Ctrl-C ends the page"]
        assert state["network"]["labels"] == 15  # a last network learned every label
        assert ask(session)["reason"] == "finished"
    assert read_events(path)[-1]["event"] == "finished"
    with opened(path) as session:  # after a week
        until(session, network(1))
        answer(session, 2)


@pytest.mark.parametrize("stage", ["train", "migrate", "score"])
def test_a_stage_of_a_page_run_is_done_again(tmp_path, stage, late_class):
    from pipeline.run.rerun import rerun

    (tmp_path / "again").mkdir()
    assert rerun(late_class, stage, 1, tmp_path / "again").same


@pytest.fixture(scope="module")
def late_class(tmp_path_factory):
    """A run in which a class was added before the second network."""
    path = make(tmp_path_factory.mktemp("page") / "run", **LOOKS_AHEAD, query__size=3)
    with opened(path) as session:
        answer(session, 12)
        until(session, network(0))
        session.add_class("other")
        session.answer("anna", ask(session)["sample"], "other", 1.0)
        answer(session, 4)
        until(session, network(1))
    return path


def test_nothing_is_taken_back_once_it_is_finished(tmp_path):
    path = make(tmp_path / "run", query__n_init=50)
    with opened(path) as session:
        [sample] = answer(session)
        session.clerk.products.finished = True  # as of finish(), without the minutes
        for call in (lambda: session.undo("anna", None), lambda: session.grid("anna", "1", 4)):
            with pytest.raises(DeskError, match="pipeline label .* again"):
                call()
    assert list(Pool(1297, read_events(path)).known()) == [sample]
    assert not kinds(path, "undo")


def test_a_full_disk_is_said_in_one_line_and_the_answer_can_be_given_again(tmp_path, monkeypatch):
    path, warnings = make(tmp_path / "run", query__n_init=50), []
    with opened(path, warnings) as session:
        sample = ask(session)["sample"]
        with monkeypatch.context() as full:

            def write(*_):
                raise OSError(errno.ENOSPC, "No space left on device")

            full.setattr("pipeline.run.events.os.write", write)
            with pytest.raises(
                DeskError, match=r"^cannot write \S+events.jsonl \(No space left on device\)"
            ) as refused:
                session.answer("anna", sample, "1", 1.0)
            assert refused.value.status == 503
        assert len(warnings) == 1
        assert session.answer("anna", sample, "1", 1.0)["sample"] != sample
    assert [event["labels"] for event in kinds(path, "label")] == [[[sample, 1]]]
