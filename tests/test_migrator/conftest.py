import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # `import networks` from every test file


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread():
    """Torch's and JAX's threads wait for each other on few cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
