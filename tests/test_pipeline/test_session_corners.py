"""Where a labelling session could go wrong: what is said twice, by several people, at the end of things, or too much."""

import numpy as np
import pytest
from session_cases import LOOKS_AHEAD, answer, ask, make, network, opened, truth, until

from pipeline.errors import RunFailedError
from pipeline.run.pool import Pool
from pipeline.run.rundir import read_events
from pipeline.session.desk import DeskError


def kinds(path, *names):
    return [event for event in read_events(path) if event["event"] in names]


def commonest(session):
    """The class with most labels, which a network takes most images for."""
    return max(session.state("anna")["classes"], key=lambda each: each["count"])["name"]


# Skips ----------------------------------------------------------------------------------------------------------------


def test_what_was_skipped_in_a_closed_round_can_be_skipped_again(tmp_path):
    path = make(tmp_path / "run", query__n_init=4)
    with opened(path) as session:
        sample = ask(session)["sample"]
        session.skip("anna", sample, "", 1.0)
        answer(session, 12)
        until(session, network(0))
        assert session.undo("anna", sample)["sample"] == sample
        assert session.skip("anna", sample, "", 1.0)["sample"] != sample
    assert len(kinds(path, "skip")) == 2


def test_everybody_s_skip_is_logged_and_stands_by_itself(tmp_path):
    path = make(tmp_path / "run", query__n_init=50)
    with opened(path) as session:
        sample = ask(session)["sample"]
        for _ in range(2):  # sent again: it changes nothing
            session.skip("anna", sample, "", 1.0)
            session.skip("ben", sample, "dark", 1.0)
        assert [event["annotator"] for event in kinds(path, "skip")] == ["anna", "ben"]
        session.undo("anna", sample)
        assert session.state("anna")["skipped"] == 1
        assert session.question("ben")["sample"] != sample
