"""The strategy crc: by hand, and what it does with groups, ties, remainders and pools."""

from dataclasses import replace

import numpy as np
import pytest
from given_state import FIRST, given_state

from pipeline.config import load_config
from pipeline.errors import PipelineError
from pipeline.queries import LookAheadOptions, get_strategy, validated_query
from pipeline.queries.crc import CONVERGENCE, apart
from pipeline.run.stages.diagnostics import cautions

# Without a bias and with three classes (outputs [U, 3]): 0 of the copy, 3 of the orthogonal point, 0.05985 of the near.
LABELLED, POOL = [[2.0, 0]], [[2.0, 0], [0, 1], [2, 0.2]]


def state_of(pool=POOL, labelled=LABELLED, *, bias=False, seed=0, **options):
    state = given_state(np.array(pool), np.array(labelled), outputs=np.zeros((len(pool), 3)), seed=seed)
    return replace(state, has_bias=lambda: bias, options=LookAheadOptions(**options))


def test_a_copy_comes_last_by_hand_and_first_by_the_published_rule():
    selection = validated_query(get_strategy("crc"), state_of(), 3)
    assert selection.indices.tolist() == [FIRST + 1, FIRST + 2, FIRST]
    np.testing.assert_allclose(selection.candidate_scores, [0, 3, 0.0598500009], atol=1e-9)
    published = validated_query(get_strategy("crc-positive"), state_of(), 3)
    assert published.indices.tolist() == [FIRST, FIRST + 1, FIRST + 2]
    np.testing.assert_allclose(published.candidate_scores, [24, 3, 0.0598500009], atol=1e-9)


def test_the_spread_of_the_scores_is_reported():
    figures = validated_query(get_strategy("crc-1"), state_of(), 2).figures
    assert (figures["groups"], figures["group_size"], figures["eigenvalue"], figures["rank_bound"]) == (3, 1, 2, 2)
    assert figures["labelled_eigenvalue"] == pytest.approx(12)
    found = [figures[f"group_score_{which}"] for which in ("least", "median", "most")]
    np.testing.assert_allclose(found, [0, 0.0598500009, 3], atol=1e-9)
    assert figures["rounding_share"] == pytest.approx(1 / 3)


def scored_as_groups(selection):
    """Groups of candidates by their scores, the best first; what is in no group has 0."""
    values = selection.candidate_scores
    return [set(np.flatnonzero(values == value).tolist()) for value in sorted(set(values) - {0.0}, reverse=True)]


@pytest.mark.parametrize(("name", "size"), [("crc-2", 2), ("crc-5", 5), ("crc-whole", 6), ("crc-10", 6), ("crc", 1)])
def test_groups_are_drawn_without_replacement_and_asked_for_as_a_whole(name, size):
    rng = np.random.default_rng(0)
    state = state_of(rng.normal(size=(23, 30)), rng.normal(size=(4, 30)), bias=True)
    selection = validated_query(get_strategy(name), state, 6)
    groups = scored_as_groups(selection)
    assert [len(group) for group in groups] == [size] * (23 // size)
    assert len(set().union(*groups)) == 23 // size * size
    assert np.count_nonzero(selection.candidate_scores == 0) == 23 % size
    chosen = (selection.indices - FIRST).tolist()
    for start in range(0, 6 - size + 1, size):
        assert set(chosen[start : start + size]) == groups[start // size]


def test_the_run_says_how_large_groups_are_and_a_tenth_is_the_default():
    rng = np.random.default_rng(0)
    pool, labelled = rng.normal(size=(40, 60)), rng.normal(size=(4, 60))
    assert get_strategy("crc").query(state_of(pool, labelled), 30).figures["group_size"] == 3
    assert get_strategy("crc").query(state_of(pool, labelled, group=7), 30).figures["group_size"] == 7
    assert get_strategy("crc").query(state_of(pool, labelled, group=7), 3).figures["group_size"] == 3
    assert get_strategy("crc-2").query(state_of(pool, labelled, group=7), 30).figures["group_size"] == 2
    with pytest.raises(PipelineError, match="group: expected at most the 20 labels of a query, got 21"):
        load_config(sets=["query.group=21"])


def test_all_of_a_pool_and_pools_of_copies():
    copies = state_of([[1.0, 1]] * 7)
    for n in (1, 4, 7):
        selection = validated_query(get_strategy("crc-2"), copies, n)
        assert len(set(selection.indices)) == n
        assert (selection.candidate_scores >= 0).all()


def test_equal_scores_are_told_apart_in_their_order():
    found = apart(np.array([0.0, 2, 0, 2, 1]))
    assert len(set(found)) == 5
    assert found.min() > 0
    np.testing.assert_allclose(found, [0, 2, 0, 2, 1], atol=1e-15)
    assert (np.argsort(found) == [0, 2, 4, 1, 3]).all()


def test_pools_give_each_group_as_many_of_each():
    rng = np.random.default_rng(0)
    state = state_of(rng.normal(size=(24, 60)), rng.normal(size=(4, 60)), bias=True)
    pools = tuple(np.flatnonzero(np.arange(24) % 3 == c) for c in range(3))
    selection = validated_query(get_strategy("crc"), replace(state, pools=pools), 6)
    for group in scored_as_groups(selection):
        assert np.bincount([row % 3 for row in group], minlength=3).tolist() == [2, 2, 2]
    assert len(scored_as_groups(selection)) == 4
    assert np.bincount((selection.indices - FIRST) % 3).tolist() == [2, 2, 2]


def test_what_each_reads():
    for strategy in CONVERGENCE:
        assert strategy.needs_features == (strategy.name != "crc-all")
        assert strategy.needs_gradients == strategy.needs_port == (strategy.name == "crc-all")
        assert not strategy.needs_kernel


SOUND = {
    "candidates": 100, "score_mean": 2.0, "score_spread": 0.4, "groups": 10.0, "eigenvalue": 30.0, "rank_bound": 129.0,
    "labelled_eigenvalue": 0.7, "group_score_least": 0.2, "rounding_share": 0.1, "rounding_score": 1e-9,
}  # fmt: skip


def test_scores_that_mean_nothing_are_warned_of():
    assert list(cautions(SOUND)) == []
    [line] = cautions(SOUND | {"rounding_share": 0.6})
    assert "60% of the groups score less than 1e-09" in line
    [line] = cautions(SOUND | {"group_score_least": 0.699})
    assert "all 10 groups lie within 1%" in line
    assert list(cautions(SOUND | {"group_score_least": 0.75, "eigenvalue": 129.0})) == []  # there a group adds
