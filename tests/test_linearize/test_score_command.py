"""``linearize score`` on plain files: ids keep what leads from them back to files or rows."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

from linearize import KernelOptions, LookAhead
from linearize.cli import cli

RNG = np.random.default_rng(0)
X, POOL = RNG.normal(size=(6, 4)).astype(np.float32), RNG.normal(size=(5, 4)).astype(np.float32)
IDS, PATHS = np.array([9, 2, 7, 4, 0]), np.array(["b/ä 9.png", "a,2.png", "scan.npz#X[14]", "=4.png", "c/0.png"])


def load_linear(port):
    """Stand for ``migrator.load``: a linear network of two classes."""
    weights = {"params": {"w": jnp.asarray(np.random.default_rng(1).normal(size=(4, 2)), jnp.float32)}}
    return SimpleNamespace(apply_fn=lambda variables, x: x @ variables["params"]["w"], variables=weights)


@pytest.fixture
def score(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("labelled.npz", x=X, y=np.eye(2, dtype=np.float32)[[0, 1, 0, 1, 0, 1]])

    def call(*options, code=0, **pool):
        np.savez("pool.npz", **{"x": POOL, "ids": IDS, **pool})
        given = ["score", "port", "--labelled", "labelled.npz", "--pool", "pool.npz", "-o", "scores.npz", *options]
        result = CliRunner().invoke(cli, [*given, "--loader", f"{__name__}:load_linear"])
        assert result.exit_code == code, result.output
        return result

    return call


def test_scores_carry_the_paths_of_their_ids(score, tmp_path):
    result = score(paths=PATHS)
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as written:
        assert written["ids"].tolist() == IDS.tolist()
        assert written["paths"].tolist() == PATHS.tolist()
        best = int(written["scores"].argmax())
    assert f"highest: {IDS[best]} {PATHS[best]} (" in result.stdout


def test_a_pool_without_paths_is_scored_as_ever(score, tmp_path):
    assert "highest: " in score().stdout
    with np.load(tmp_path / "scores.npz") as written:
        assert sorted(written) == ["ids", "pseudo_labels", "scores"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (PATHS[:3], "expected a path of text for each of 5 ids, got <U14 (3,)"),
        (np.arange(5), "expected a path of text for each of 5 ids, got int64 (5,)"),
        (PATHS.astype(object), "expected paths as text, got Python objects"),
    ],
)
def test_paths_that_are_none_are_refused_in_one_line(score, tmp_path, paths, message):
    assert message in score(code=2, paths=paths).stderr
    assert not (tmp_path / "scores.npz").exists()


def test_a_network_that_was_solved_for_is_scored_as_one(score, tmp_path):
    def scores(*options):
        score("--ridge", "0.1", *options)
        with np.load(tmp_path / "scores.npz") as written:
            (tmp_path / "scores.npz").unlink()
            return written["scores"]

    f, Y = load_linear("port"), np.eye(2, dtype=np.float32)[[0, 1, 0, 1, 0, 1]]
    service = LookAhead.fit(f.apply_fn, f.variables, X, Y, POOL, KernelOptions(ridge=0.1), penalised=True)
    truth = service.scores("margin-influence")
    np.testing.assert_allclose(scores("--penalised"), truth, rtol=1e-5)
    assert not np.allclose(scores(), truth, rtol=1e-2)
