import functools
import sys
from pathlib import Path

import pytest
import torch
import torch._export.utils

sys.path.insert(0, str(Path(__file__).parent))  # `import networks` from every test file


@pytest.fixture(autouse=True, scope="session")
def _one_torch_thread():
    """Torch's and JAX's threads wait for each other on few cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _operators_once():
    """Torch looks through all its operators for every recording; no test registers one."""
    name = "_collect_all_valid_cia_ops_for_namespace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch._export.utils, name, functools.cache(getattr(torch._export.utils, name)))
        yield


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation(quick_compilation):
    """Most of these tests' time is XLA's."""
