"""The strategies of a seed had the same start, schedule and candidates, or it is said which did not."""

import shutil

import numpy as np
import pytest

from pipeline.config import load_config
from pipeline.run.events import EventLog
from pipeline.run.rundir import read_events
from pipeline.sweep.check import mismatches
from pipeline.sweep.grid import Grid

STRATEGIES = ("random", "entropy", "margin")
SUBSET = 500


@pytest.fixture
def cells(tmp_path, start, go_on, tiny):
    """Three finished cells of one seed."""
    for strategy in STRATEGIES:
        go_on(start(f"{strategy}-seed0", query__strategy=strategy, query__subset=SUBSET))
    return tmp_path, Grid.of(load_config(options={**tiny, "query.subset": SUBSET}), STRATEGIES, (0,))


def rewrite(path, **fields):
    """Replace fields of a run's first event, with a sound chain after it."""
    events = read_events(path)
    (path / "events.jsonl").unlink()
    log = EventLog(path / "events.jsonl")
    for number, event in enumerate(events):
        plain = {key: value for key, value in event.items() if key not in ("seq", "prev", "hash")}
        log.append(**{**plain, **(fields if number == 0 else {})})
    log.close()


def test_cells_of_one_seed_are_alike_and_whatever_is_not_is_named(cells, start, go_on):
    out, grid = cells
    assert mismatches(out, grid) == []

    entropy, kept = out / "entropy-seed0", out / "kept"
    entropy.rename(kept)
    assert mismatches(out, grid) == []  # a cell that has not begun says nothing

    def with_entropy(**options):
        shutil.rmtree(entropy, ignore_errors=True)
        go_on(start("entropy-seed0", **{"query__strategy": "entropy", "query__subset": SUBSET, **options}))
        return mismatches(out, grid)

    assert with_entropy(seed=1) == [
        "entropy-seed0: the initial set is not that of random-seed0",
        "entropy-seed0: the labelling of the initial set is not that of random-seed0",
        "entropy-seed0: the hash of the first weights is not that of random-seed0",
        *[
            f"the candidates of {pair} in cycle {cycle} were not drawn alike"
            for cycle in (0, 1)
            for pair in ("random-seed0 and entropy-seed0", "entropy-seed0 and margin-seed0")
        ],
    ]
    found = with_entropy(query__size=5, query__subset=SUBSET - 1)
    assert found[0] == "entropy-seed0: the shared configuration is not that of random-seed0"
    assert "entropy-seed0: the number of labels asked for in cycle 1 is not that of random-seed0" in found
    assert "the candidates of random-seed0 and entropy-seed0 in cycle 0 were not drawn alike" in found

    assert with_entropy(query__strategy="mlmoc-flips-sequential") == []  # one by one, as many

    shutil.rmtree(entropy)
    kept.rename(entropy)
    rewrite(entropy, dataset_sha256="0" * 64, versions={"torch": "1.0"})
    assert mismatches(out, grid) == [
        "entropy-seed0: the data set is not that of random-seed0",
        "entropy-seed0: the set of package versions is not that of random-seed0",
    ]


def test_candidates_that_one_strategy_has_labelled_are_no_difference(cells):
    out, grid = cells
    path = out / "margin-seed0/cycles/001/score/scores.npz"
    with np.load(path) as arrays:
        scores = dict(arrays)
    with np.load(out / "random-seed0/cycles/001/score/scores.npz") as arrays:
        assert set(scores["candidates"]) != set(arrays["candidates"])  # or this test compares nothing
    assert mismatches(out, grid) == []
    scores["candidates"][[3, 4]] = scores["candidates"][[4, 3]]
    np.savez(path, **scores)
    pairs = ("random-seed0 and margin-seed0", "entropy-seed0 and margin-seed0")
    assert mismatches(out, grid) == [f"the candidates of {pair} in cycle 1 were not drawn alike" for pair in pairs]
    path.write_bytes(b"damaged")
    assert mismatches(out, grid) == []
