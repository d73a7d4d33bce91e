import pytest

from common import memory
from common.memory import available_memory, default_budget, parse_bytes, shown


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 4 * 2**30), ("500MB", 500_000_000), ("1.5 gib", 3 * 2**29), ("2k", 2048), (" 7 ", 7), (123, 123)],
)
def test_sizes_are_read(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "0", "4XB", "4 GiB of it", "1e9", "nan", -5])
def test_what_is_no_size_is_named(text):
    with pytest.raises(ValueError, match="expected a positive size such as 4GiB"):
        parse_bytes(text)


def test_sizes_are_shown():
    assert [shown(size) for size in (0, 2**20, 3 * 2**29)] == ["0 MiB", "1 MiB", "1.50 GiB"]


def test_the_default_budget_is_a_power_of_two_of_at_most_half_of_what_is_free(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 21 * 2**30)
    assert default_budget() == 8 * 2**30


def test_available_memory_is_plausible():
    assert 2**26 < available_memory() < 2**46
