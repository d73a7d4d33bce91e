"""Look-ahead over a pool of which a sample stands for the rest, beside look-ahead over all of it.

    python benchmarks/sampled_pool.py --dataset mnist --data-root data --pool 1500 --pool 5000     # minutes
    python benchmarks/sampled_pool.py --pool 1000 --labels 40                                      # digits, a smoke run

A network is trained on random labels and linearised over the same candidates in both ways, in turn, in one process.
Each asks for 20 one by one, told the true answers of its own questions.  Seconds are of the processor, from the network
to the first question and from there to the twentieth answer; the ratios count.  The ranks are those of the first
question: how many of the 20 highest scores of the whole are among the sample's, and Spearman's correlation.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import torch
from scipy import stats

from linearize import KernelOptions, LookAhead
from linearize.build import Sample
from migrator import migrate
from trainer.data import load
from trainer.loop import fit
from trainer.models import ModelSpec, build
from trainer.options import options_for

QUERY, LARGE = 20, 5000
HEAD = "| pool | way | first question, s | 20 answers, s | all, of the whole | of its 20 best | Spearman | rows of S |"


def images(name: str, root: Path | None, count: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return so many training images, of mean 0 and variance 1, their labels and the number of classes."""
    data = load(name, root=root)
    ids = np.random.default_rng(0).permutation(len(data.train))[:count]
    x = np.asarray(data.train.images[ids], np.float32)
    x = x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)
    return (x - x.mean()) / x.std(), np.asarray(data.train.labels)[ids], data.num_classes


def asked(service: LookAhead, labels: np.ndarray) -> None:
    """Take in twenty true answers, each to the best question then."""
    for _ in range(QUERY):
        chosen = int(service.query(1)[0])
        service.observe(chosen, int(labels[chosen]))


@click.command()
@click.option("--dataset", default="digits", show_default=True)
@click.option("--data-root", type=click.Path(path_type=Path))
@click.option("--model", default="cnn", show_default=True)
@click.option("--labels", default=100, show_default=True)
@click.option("--pool", "pools", multiple=True, type=int, default=(1000,), show_default=True)
@click.option("--references", default=256, show_default=True)
@click.option("--whole-up-to", default=5000, show_default=True, help="Candidates of which Θ(U,U) is computed too.")
def main(
    dataset: str,
    data_root: Path | None,
    model: str,
    labels: int,
    pools: tuple[int, ...],
    references: int,
    whole_up_to: int,
) -> None:
    """Print a table."""
    x, y, C = images(dataset, data_root, labels + max(pools))
    network = build(ModelSpec(model, x.shape[1:], C, {}), 0)
    fit(network, x[:labels], y[:labels], C, options_for(model), seed=0)
    port = migrate(network.eval(), torch.from_numpy(x[:2]))
    Y = np.eye(C, dtype=np.float32)[y[:labels]]
    print(f"{HEAD}\n|---|---|---|---|---|---|---|---|")
    for U in pools:
        pool, truth = x[labels : labels + U], y[labels : labels + U]
        ways = {"whole": None, f"{references} references": Sample(references)}
        if whole_up_to < U:
            del ways["whole"]
        for again in (False, True)[U > LARGE :]:  # a first round compiles, which is nothing beside a large pool
            taken, scores, rows = {}, {}, {}
            for way, sample in ways.items():
                start = time.process_time()
                service = LookAhead.fit(
                    port.apply_fn, port.variables, x[:labels], Y, pool, KernelOptions(), sample=sample
                )
                scores[way] = service.scores(best=QUERY)
                first = time.process_time()
                asked(service, truth)
                taken[way] = first - start, time.process_time() - first
                rows[way] = int(found.exact.sum()) if (found := service.estimate()) else U
                del service
            if not again:
                continue
            for way, (first_question, answers) in taken.items():
                line = [str(U), way, f"{first_question:.2f}", f"{answers:.2f}"]
                if "whole" in ways:
                    best = [set(np.argsort(-scores[of])[:QUERY]) for of in ("whole", way)]
                    line += [
                        f"{sum(taken[way]) / sum(taken['whole']):.2f}",
                        str(len(best[0] & best[1])),
                        f"{stats.spearmanr(scores['whole'], scores[way]).statistic:.3f}",
                    ]
                else:
                    line += ["", "", ""]
                print("| " + " | ".join([*line, str(rows[way])]) + " |", flush=True)


if __name__ == "__main__":
    main()
