import hypothesis.strategies as st
import pytest
from hypothesis import given

from linearize import memory
from linearize.errors import MemoryBudgetError
from linearize.memory import available_memory, plan_chunks


@given(
    sizes=st.lists(st.integers(1, 500), min_size=1, max_size=8),
    n=st.integers(1, 50),
    room=st.integers(1, 900),
)
def test_chunks_cover_every_column_once_and_fit(sizes, n, room):
    block = 8
    budget = 8 * n * n + 3 * 4 * block * max(sizes) + 4 * n * room
    covered = []
    for chunk in plan_chunks(sizes, n, block, budget):
        assert chunk.stop - chunk.start <= room
        columns = [(leaf, column) for leaf in chunk.leaves for column in range(sizes[leaf])]
        covered += columns[chunk.start : chunk.stop]
    assert sorted(covered) == [(leaf, column) for leaf, size in enumerate(sizes) for column in range(size)]


def test_all_in_one_chunk_when_it_fits():
    assert len(plan_chunks([100, 200, 300], 10, 4, 2**30)) == 1


def test_a_budget_below_the_floor_says_what_would_fit():
    with pytest.raises(MemoryBudgetError, match=r"needs at least .* GiB, the budget is 0.00 GiB"):
        plan_chunks([1000], 1000, 256, 10**6)


def test_a_plan_larger_than_what_is_free_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 10**6)
    with pytest.raises(MemoryBudgetError, match="0.00 GiB are free: lower the memory budget"):
        plan_chunks([10**6], 1000, 16, 2**32)


def test_available_memory_is_plausible():
    assert 2**26 < available_memory() < 2**46
