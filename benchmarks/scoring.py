"""Scoring and sequential querying against a matrix product and against fitting again, on one machine in one run.

    python benchmarks/scoring.py             # U = 5000, L = 500, C = 10; about 5 minutes and 3 GiB on 2 cores
    python benchmarks/scoring.py --small     # a smoke run of seconds; its ratios mean nothing

Everything of a table takes turns within a round.  A ratio is the median over the rounds of the ratio within each; the
ratios count, the seconds are of the machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import click
import jax
import jax.numpy as jnp
import numpy as np
import torch
from scipy import stats

from common.losses import L2
from common.probabilities import SIMPLEX, SOFTMAX, Probabilities, project_onto_simplex
from linearize import CRITERIA, Kernel, KernelOptions, LookAhead, Measure, Reference
from linearize.choice import best
from linearize.criteria.eer import by_simplex, by_softmax
from linearize.criteria.passes import SMALL_BLOCK
from linearize.posterior import Dense, Targets
from linearize.posterior.base import REDUNDANT_FLOAT32
from migrator import migrate
from trainer.models import build_model

SEED = 0
STEPS = 5  # answers in a row, as they are given in use
INNER = 1000  # the GEMM is [U, INNER] times [INNER, U]
Data = tuple[Kernel, Targets]
DTYPES = (np.float64, np.float32)


def problem(U: int, L: int, C: int) -> Data:
    """A kernel of random features, and outputs as an L2-trained network leaves them: near one-hot, with noise."""
    rng = np.random.default_rng(SEED)
    labels = rng.integers(C, size=L + U)
    J = rng.normal(size=(L + U, (L + U) * 3 // 4)) + 0.5 * rng.normal(size=(C, (L + U) * 3 // 4))[labels]
    theta = J @ J.T / J.shape[1]
    Y = np.eye(C)[labels]
    f = np.vstack([Y[:L] + 0.03 * rng.normal(size=(L, C)), 0.8 * Y[L:] + 0.15 * rng.normal(size=(U, C))])
    return Kernel(theta[:L, :L], theta[:L, L:], theta[L:, L:]), Targets(f[:L], f[L:], Y[:L])


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def take_turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each call in each round, after one that compiles."""
    for call in calls.values():
        call()
    taken = [[seconds(call) for call in calls.values()] for _ in range(rounds)]
    return dict(zip(calls, np.array(taken).T, strict=True))


def print_table(first: str, taken: dict[str, np.ndarray], base: str, ratio: str, targets: dict[str, str]) -> None:
    print(f"| {first} | s, median | s, range | {ratio} | target |\n|---|---|---|---|---|")
    for name, s in taken.items():
        relative = np.median(taken[base] / s if ratio.endswith("faster") else s / taken[base])
        bounds = f"{s.min():.4f}-{s.max():.4f}"
        print(f"| {name} | {np.median(s):.4f} | {bounds} | {relative:.2f} | {targets.get(name, '')} |")
    print()


def eer(posterior: Dense, probabilities: Probabilities, dtype: type) -> np.ndarray:
    """Scores by EER of a network trained with L2, its outputs read in either way, passes over the pool in a type."""
    over = {"simplex": by_simplex, "softmax": by_softmax}[probabilities.name]
    pull = L2.pseudo_residual(posterior.mean)
    return over(posterior, probabilities.of(posterior.f), pull, SMALL_BLOCK, dtype)


def scoring(posterior: Dense, rounds: int) -> None:
    """Every criterion against one matrix product of float64."""
    rng, U = np.random.default_rng(SEED), len(posterior.f)
    A, B = rng.normal(size=(U, INNER)), rng.normal(size=(INNER, U))
    A32, B32 = A.astype(np.float32), B.astype(np.float32)
    multiply = jax.jit(jnp.matmul)
    with jax.enable_x64(True):
        A_jax, B_jax = jnp.asarray(A), jnp.asarray(B)

    def multiply_jax() -> None:
        with jax.enable_x64(True):
            multiply(A_jax, B_jax).block_until_ready()

    # the projection keeps all C classes
    vague = replace(posterior, f=0.02 * posterior.f, mean=0.02 * posterior.mean)

    def scored(name: str, of: Dense = posterior, reference: Reference = "network") -> Callable[[], object]:
        return lambda: CRITERIA[name].scores(of, measure=Measure(reference))

    calls = {
        "GEMM float64 (NumPy)": lambda: A @ B,
        "GEMM float64 (jax)": multiply_jax,
        "GEMM float32 (NumPy)": lambda: A32 @ B32,
        "mlmoc": scored("mlmoc"),
        "mlmoc, reference linearized": scored("mlmoc", reference="linearized"),
        "mlmoc-flips": scored("mlmoc-flips", reference="linearized"),
        "emoc": scored("emoc"),
        "emoc, reference linearized": scored("emoc", reference="linearized"),
        "emoc, all classes possible": scored("emoc", vague),
        "eer (simplex, float32)": scored("eer"),
        "eer, all classes possible": scored("eer", vague),
        "eer, simplex, float64": partial(eer, posterior, SIMPLEX, np.float64),
        "eer, softmax, float32": partial(eer, posterior, SOFTMAX, np.float32),
        "eer, softmax, float64": partial(eer, posterior, SOFTMAX, np.float64),
    }
    of_eer = dict.fromkeys(("eer (simplex, float32)", "eer, softmax, float32"), "≤ 0.5")
    targets = {"mlmoc": "≤ 0.3", "emoc": "≤ 1"} | of_eer
    print_table("scores of the pool", take_turns(calls, rounds), "GEMM float64 (NumPy)", "of the GEMM", targets)


def precision(posterior: Dense) -> None:
    """What float32 passes do to the ranking by EER."""
    print(
        "| eer, float32 against float64 | largest relative error | spread of the scores | Spearman | 100 best shared |"
    )
    print("|---|---|---|---|---|")
    for probabilities in (SIMPLEX, SOFTMAX):
        exact, fast = (eer(posterior, probabilities, dtype) for dtype in DTYPES)
        shared = len(set(np.argsort(-exact)[:100]) & set(np.argsort(-fast)[:100]))
        spread, error = exact.std() / abs(exact.mean()), np.abs(fast / exact - 1).max()
        rank = stats.spearmanr(exact, fast).statistic
        print(f"| {probabilities.name} | {error:.1e} | {spread:.1e} | {rank:.7f} | {shared} |")
    print()


class Answered:
    """A posterior that answers come in to, each written over the one before as a service does."""

    def __init__(self, data: Data, dtype: type) -> None:
        self.posterior = Dense.init(*data)
        if dtype == np.float32:
            S, epsilon = self.posterior.S.astype(dtype), REDUNDANT_FLOAT32 * np.diag(data[0].UU)
            self.posterior = replace(self.posterior, S=S, epsilon=epsilon)

    def answer(self, x: int, label: int) -> None:
        """Take an answer in; the first copies S to where jax reads it in place."""
        posterior = self.posterior
        self.posterior = posterior.condition(x, np.eye(posterior.f.shape[1])[label], donate=bool(posterior.answers))


def fit_again(data: Data, posterior: Dense) -> Dense:
    """Fit from the kernel, the answers that told something among the labels, over the whole pool."""
    (XX, XU, UU), (f_X, f_U, Y) = data
    told = posterior.told()
    targets = np.vstack([Y, *(answer.y for answer in posterior.answers if answer.steps)])
    XX = np.block([[XX, XU[:, told]], [XU[:, told].T, UU[np.ix_(told, told)]]])
    return Dense.init(Kernel(XX, np.vstack([XU, UU[told]]), UU), Targets(np.vstack([f_X, f_U[told]]), f_U, targets))


def sequential(data: Data, rounds: int) -> None:
    """An answer and new scores against fitting again with the answer among the labels, and new scores."""
    exact, fast, answered = (Answered(data, dtype) for dtype in (*DTYPES, np.float64))
    answered.answer(0, 0)

    def refactor(name: str) -> None:
        again = fit_again(data, answered.posterior)
        CRITERIA[name].scores(replace(again, f=again.mean), measure=Measure("linearized"))

    def steps(of: Answered, name: str | None) -> None:
        for _ in range(STEPS):
            of.answer(int((~of.posterior.answered).argmax()), 0)
            if name is not None:
                best(of.posterior, CRITERIA[name].scores(of.posterior, measure=Measure("linearized")))

    calls: dict[str, Callable[[], object]] = {"fit again + mlmoc": lambda: refactor("mlmoc")}
    for of, label in ((exact, "float64"), (fast, "float32")):
        calls[f"answer, {label}"] = partial(steps, of, None)
        for name in ("mlmoc", "mlmoc-flips", "emoc", "eer"):
            calls[f"answer + {name}, {label}"] = partial(steps, of, name)
    taken = take_turns(calls, rounds)
    taken = {name: s / (1 if name.startswith("fit") else STEPS) for name, s in taken.items()}
    targets = {f"answer + mlmoc, {label}": "≥ 20" for label in ("float64", "float32")}
    print_table("one step", taken, "fit again + mlmoc", "times faster", targets)


def on_demand(U: int, L: int, C: int, side: int, rounds: int) -> None:
    """Sequential margin of f_lin with the columns of S that it queries, against all of S; the network is the cnn."""
    rng = np.random.default_rng(SEED)
    torch.manual_seed(SEED)
    port = migrate(build_model("cnn", (1, side, side), C).eval(), torch.zeros(2, 1, side, side))
    x = rng.normal(size=(L + U, 1, side, side)).astype(np.float32)
    Y = np.eye(C)[rng.integers(C, size=L)]

    def fitted(full: bool) -> LookAhead:
        return LookAhead.fit(port.apply_fn, port.variables, x[:L], Y, x[L:], KernelOptions(ridge=1e-4), full=full)

    def steps(service: LookAhead) -> None:
        for _ in range(STEPS):
            [sample] = service.query(1, "margin-lin", mode="sequential")
            service.observe(sample, 0)

    calls: dict[str, Callable[[], object]] = {}
    for full, label in ((True, "all of S"), (False, "on demand")):
        calls |= {f"fit, {label}": partial(fitted, full), f"query and answer, {label}": partial(steps, fitted(full))}
    taken = take_turns(calls, rounds)
    taken = {name: s / (1 if name.startswith("fit") else STEPS) for name, s in taken.items()}
    for n in (1, 5, 20):
        for label in ("all of S", "on demand"):
            taken[f"fit and {n} answers, {label}"] = taken[f"fit, {label}"] + n * taken[f"query and answer, {label}"]
    for part in ("query and answer", *(f"fit and {n} answers" for n in (1, 5, 20))):
        of = {name: taken[name] for name in (f"{part}, all of S", f"{part}, on demand")}
        print_table(f"margin-lin, sequential: {part}", of, f"{part}, all of S", "times faster", {})


def drift(data: Data, answers: int) -> None:
    """How far many updates drift from fitting again, over what is left."""
    print("| answers | S in | s an answer | ΔS / mean Θ(x,x) | Δu / u | Δf_lin |\n|---|---|---|---|---|---|")
    C, prior = data[1].Y.shape[1], np.diag(data[0].UU)
    for dtype in DTYPES:
        of = Answered(data, dtype)
        taken = [seconds(partial(of.answer, x, x % C)) for x in range(answers)]
        now, again = of.posterior, fit_again(data, of.posterior)
        left = ~now.answered
        alive = left & ~now.redundant & ~again.redundant
        rows = np.flatnonzero(left).tolist()  # one by one: they are large
        figures = (
            max(np.abs(now.S[x] - again.S[x])[left].max() for x in rows) / prior.mean(),
            np.abs(now.u / again.u - 1)[alive].max(),
            np.abs(now.mean - again.mean)[left].max(),
        )
        shown = " | ".join(f"{value:.1e}" for value in figures)
        print(f"| {answers} | {dtype.__name__} | {np.median(taken):.4f} | {shown} |")


@click.command()
@click.option("--small", is_flag=True, help="A smoke run.")
@click.option("--rounds", default=5, show_default=True)
def main(small: bool, rounds: int) -> None:
    U, L, C, answers = (300, 40, 10, 50) if small else (5000, 500, 10, 1000)
    data = problem(U, L, C)
    posterior = Dense.init(*data)
    likely = (project_onto_simplex(posterior.f) > 0).sum(1).mean()
    print(
        f"U = {U}, L = {L}, C = {C}; {likely:.1f} classes of positive probability a candidate; {os.cpu_count()} cores, "
        f"{rounds} rounds; the GEMM is [{U}, {INNER}] times [{INNER}, {U}]\n"
    )
    scoring(posterior, rounds)
    precision(posterior)
    sequential(data, rounds)
    on_demand(U, L, C, 8 if small else 28, min(rounds, 2))
    drift(data, answers)


if __name__ == "__main__":
    main()
