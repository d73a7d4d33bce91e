"""What ``pipeline status`` says of a log, without a run that was computed for it."""

import pytest

from pipeline.config import load_config
from pipeline.run.status import read_status

FACTS = {"run_id": "0" * 12, "dataset_sha256": "0" * 64, "versions": {}}
BEGUN = {"query.n_init": 2, "annotator.name": "files", "query.strategy": "margin"}


@pytest.mark.parametrize(("who", "state"), [("given", "stopped, by a kill or Ctrl-C"), ("anna", "all answered")])
def test_labels_that_came_with_the_data_are_nobodys_answers(tmp_path, who, state):
    config = load_config(options=BEGUN)
    events = [
        {"event": "start", "config_sha256": config.digest(), "config": config.scientific(), **FACTS},
        {"event": "query", "cycle": -1, "ids": [4, 7], "scores": [0.0, 0.0]},
        {"event": "label", "cycle": -1, "labels": [[4, 0], [7, 1]], "annotator": who},
        {"event": "round_closed", "cycle": -1, "answered": 2, "skipped": [], "left": []},
    ]
    for n in (3, 4):  # killed before or after the round was closed
        status = read_status(tmp_path, config, events[:n])
        assert dict(status.lines)["state"] == state
        assert status.lines[-1] == ("next", f"pipeline resume {tmp_path}")
