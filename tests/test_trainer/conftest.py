import pytest
import torch
from folder_cases import put


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """Small networks gain nothing from more, and a busy machine then slows the tests no further."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def root(tmp_path):
    """Two classes of five colour images each."""
    for label in ("cat", "dog"):
        for number in range(5):
            put(tmp_path / "data", f"{label}/{number}.png", seed=10 * (label == "cat") + number)
    return tmp_path / "data"
