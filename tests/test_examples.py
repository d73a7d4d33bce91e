"""The examples run as they stand, and leave what they say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_they_are_short_and_listed(script):
    assert len(script.read_text().splitlines()) < 80
    assert f"`{script.name}`" in (EXAMPLES / "README.md").read_text()


@pytest.mark.long
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_they_run(script, tmp_path):
    path = os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "ignore", script]
    env = os.environ | {"PYTHONPATH": path}
    ran = subprocess.run(command, check=False, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "|---|" in ran.stdout or (tmp_path / "accuracy.png").stat().st_size > 5000
