import json
import os
import signal

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from pipeline.errors import PipelineError
from pipeline.run.events import EventLog


@pytest.fixture
def log_of_three(tmp_path):
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    for number in range(3):
        log.append("label", cycle=number, labels=[[number, 1]])
    log.close()
    return path


def test_events_survive_reopening(log_of_three):
    log = EventLog(log_of_three)
    assert [event["cycle"] for event in log.events] == [0, 1, 2]
    assert log.append("finished")["prev"] == log.events[2]["hash"]
    log.close()
    assert len(log_of_three.read_text().splitlines()) == 4


def test_the_same_events_are_the_same_bytes(tmp_path):
    contents = []
    for name in ("a", "b"):
        log = EventLog(tmp_path / name)
        log.append("start", config={"x": 1})
        log.append("finished")
        log.close()
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(1, 500))
def test_a_torn_last_line_is_cut_and_the_rest_kept(log_of_three, cut):
    whole = log_of_three.read_bytes()
    cut = min(cut, len(whole))
    torn = log_of_three.with_name("torn.jsonl")
    torn.write_bytes(whole[:-cut])
    log = EventLog(torn)
    assert len(log.events) == whole[:-cut].count(b"\n")
    log.append("finished")
    log.close()
    reopened = EventLog(torn)
    assert reopened.events[-1]["event"] == "finished"
    reopened.close()


@pytest.mark.parametrize("line", [0, 1, 2])
@pytest.mark.parametrize("damage", ["flip", "remove", "garbage"])
def test_damage_elsewhere_is_refused_with_its_line_number(log_of_three, line, damage):
    lines = log_of_three.read_text().splitlines(keepends=True)
    if damage == "flip":
        lines[line] = lines[line].replace('"event":"label"', '"event":"lobel"')
    elif damage == "garbage":
        lines[line] = "\0" * 10 + "\n"
    else:
        del lines[line]
    log_of_three.write_text("".join(lines))
    before = log_of_three.read_bytes()
    if damage == "remove" and line == 2:
        EventLog(log_of_three).close()  # a missing end cannot be told from a shorter run
        return
    with pytest.raises(PipelineError, match=f"line {line + 1} is damaged"):
        EventLog(log_of_three)
    assert log_of_three.read_bytes() == before


def test_every_flipped_bit_before_the_last_line_is_refused(log_of_three):
    """Among them bits that turn a character into a line break of another kind."""
    whole = log_of_three.read_bytes()
    last = whole[:-1].rindex(b"\n")
    for position in range(last):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            log_of_three.write_bytes(bytes(damaged))
            with pytest.raises(PipelineError, match="is damaged"):
                EventLog(log_of_three)
            assert log_of_three.read_bytes() == bytes(damaged)


def test_ctrl_c_waits_for_the_append_under_way(log_of_three, monkeypatch):
    log = EventLog(log_of_three)
    real = os.fsync

    def interrupted_fsync(descriptor):
        os.kill(os.getpid(), signal.SIGINT)
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted_fsync)
        with pytest.raises(KeyboardInterrupt):
            log.append("finished")
    assert log.events[-1]["event"] == "finished"
    log.close()
    assert b'"finished"' in log_of_three.read_bytes()


def test_a_changed_label_breaks_the_chain(log_of_three):
    lines = log_of_three.read_text().splitlines()
    entry = json.loads(lines[1])
    entry["labels"] = [[1, 7]]
    lines[1] = json.dumps(entry, separators=(",", ":"))
    log_of_three.write_text("\n".join(lines) + "\n")
    with pytest.raises(PipelineError, match="line 2"):
        EventLog(log_of_three)


def test_a_line_of_another_run_does_not_fit(log_of_three, tmp_path):
    other = EventLog(tmp_path / "other.jsonl")
    other.append("start", config={})
    other.append("label", cycle=1, labels=[[1, 7]])
    other.close()
    lines = log_of_three.read_text().splitlines()
    lines[1] = (tmp_path / "other.jsonl").read_text().splitlines()[1]  # sound by itself, and of the right number
    log_of_three.write_text("\n".join(lines[:2]) + "\n")
    with pytest.raises(PipelineError, match="line 2"):
        EventLog(log_of_three)


def test_a_full_disk_leaves_the_log_as_it_was(log_of_three, monkeypatch):
    log = EventLog(log_of_three)
    before = log_of_three.read_bytes()
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:20]))
    with pytest.raises(OSError, match="events.jsonl"):
        log.append("finished")
    monkeypatch.undo()
    assert log_of_three.read_bytes() == before
    assert len(log.events) == 3
    log.append("finished")
    log.close()
