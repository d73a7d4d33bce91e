"""What the paper on convergence rate control measures, on a run: scores of groups, epochs, transfer, tables 1 and 2.

Source: Kong et al. 2021, tables 1 and 2, figs. 2 and 3.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau, spearmanr

from linearize import Examples, LinearizeError
from linearize.convergence import Conditioning, kernel_conditioning, last_layer_conditioning
from pipeline import seeds
from pipeline.analyse.opening import OpenedRun
from pipeline.analyse.trainings import FIRST_SEED, Trainer, Training
from pipeline.errors import PipelineError, RunFailedError
from pipeline.progress import silent
from pipeline.queries.base import QueryStrategy
from pipeline.run.stages.score import query_state
from pipeline.run.stages.train import WEIGHTS
from pipeline.run.stages.trained import TrainedNetwork
from trainer.checkpoint import weight_bytes
from trainer.errors import TrainerError
from trainer.features import last_layer_has_bias

Progress = Callable[[str, int, int], None]
"""Called with what goes on, how much of it is done, and of how much."""
QUANTILES = {"least": 0.0, "lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75, "most": 1.0}
LAST, ALL = "last", "all"
OWN = "scores of the run's own network, groups drawn from pool images that it never learned; no label is read"
TRAINED = "networks trained for the analysis with labels of the data that the run had not asked for"


class Found(NamedTuple):
    """One number, what it is of and what it rests on; what does not apply is None.

    Args:
        part: of the analysis.
        quantity: its name.
        value: the number; NaN where it is not defined.
        cycle: whose network scored.
        group: samples of a group.
        layers: of the kernel.
        draw: number of a random group, or of a network of another seed.
        chosen_by: who chose what was trained on.
        basis: what the number rests on.

    """

    part: str
    quantity: str
    value: float
    cycle: int | None = None
    group: int | None = None
    layers: str | None = None
    draw: int | None = None
    chosen_by: str | None = None
    basis: str = OWN


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Args:
        cycle: whose network scores what is then trained on.
        sample: images of the pool.
        groups: sizes G.
        trainings: random groups as large as the run's query that are trained with.
        seeds: networks of other seeds for transfer and tables; 0 for none.
        all_layers: whether the kernel of all layers is computed too.

    """

    cycle: int = 0
    sample: int = 400
    groups: tuple[int, ...] = (1, 2, 5, 10)
    trainings: int = 20
    seeds: int = 3
    all_layers: bool = True


def measure(run: OpenedRun, sizes: Sizes, progress: Progress) -> list[Found]:
    """Measure all of it.

    Args:
        run: what is looked at.
        sizes: how much is measured.
        progress: told how far it is.

    Raises:
        PipelineError: the run has no such cycle, its pool is too small, or its data lacks the labels to train with.
        RunFailedError: a network cannot be ported or trained.

    """
    if sizes.cycle not in run.trained:
        trained = ", ".join(map(str, run.cycles))
        raise PipelineError(f"--cycle: expected one that was trained ({trained}), got {sizes.cycle}")
    ids, Q = run.draw_pool(sizes.sample), run.context.config.query.answers
    most = max(*sizes.groups, Q)
    if most > len(ids):
        raise PipelineError(
            f"--groups: expected groups and a query of at most {len(ids)}, the images of the pool that are looked at, "
            f"got {most}: ask for less or raise --sample"
        )
    if sizes.trainings or sizes.seeds:
        try:
            run.context.data.labels("train", ids)
        except TrainerError as error:
            raise PipelineError(
                "--trainings and --seeds: expected data with the labels of all training images, which networks are "
                f"trained with afterwards; give --trainings 0 --seeds 0 for the scores alone ({error})"
            ) from error
    scorer = _Scorer(run, ids, sizes)
    try:
        return [
            *_distribution(scorer, progress),
            *(_epochs(scorer, Q, progress) if sizes.trainings else ()),
            *(_tables(scorer, Q, progress) if sizes.seeds else ()),
            *(_transfer(scorer, Q, progress) if sizes.seeds else ()),
        ]
    except (LinearizeError, TrainerError) as error:
        raise RunFailedError(f"{run.path}: {error}") from error


class _Scorer:
    """Scores groups of the pool's images by the run's networks."""

    def __init__(self, run: OpenedRun, ids: np.ndarray, sizes: Sizes) -> None:
        self.run, self.ids, self.sizes = run, ids, sizes
        self.rng = seeds.generator(run.context.config.seed, 2, "analyse")
        self._features: dict[int, tuple[np.ndarray, np.ndarray, bool]] = {}

    def draw(self, G: int, at_most: int | None = None) -> np.ndarray:
        """Draw groups without replacement ``[g, G]``."""
        M = len(self.ids)
        return self.rng.permutation(M)[: M // G * G].reshape(-1, G)[:at_most]

    def last(self, cycle: int, groups: np.ndarray) -> Conditioning:
        """Return the last layer's kernels."""
        if cycle not in self._features:
            context = self.run.context.of_cycle(self.run.pool, cycle)
            known = self.run.labelled(cycle)
            network = TrainedNetwork.of(context, known, self.run.trained[cycle], None, "none", silent)
            labelled = network.embed(context.images(known.ids))[0]
            pool = network.embed(context.images(self.ids))[0]
            biased = last_layer_has_bias(network.model, np.zeros((1, *network.input_shape), np.float32))
            self._features[cycle] = labelled, pool, biased
        labelled, pool, biased = self._features[cycle]
        C = self.run.context.of_cycle(self.run.pool, cycle).data.num_classes
        return last_layer_conditioning(labelled, pool, groups, C, bias=biased)

    def all(self, cycle: int, groups: np.ndarray, progress: Progress) -> Conditioning:
        """Return all layers' kernels."""
        images, labelled = self.run.context.images, self.run.labelled(cycle).ids
        return kernel_conditioning(
            self.run.gradients(self.run.kept(cycle)[-1]),
            Examples(len(labelled), lambda rows: images(labelled[rows])),
            lambda at: images(self.ids[at]),
            groups,
            lambda *far: progress("kernel of all layers", *far),
        )


def _distribution(scorer: _Scorer, progress: Progress) -> Iterator[Found]:
    """Fig. 3b: how scores are spread in every cycle; table 2's two kernels on the same groups."""
    cycles, sizes = scorer.run.cycles, scorer.sizes
    for done, cycle in enumerate(cycles):
        progress("scores", done, len(cycles))
        for G in sizes.groups:
            yield from _spread(scorer.last(cycle, scorer.draw(G)), cycle, G, LAST)
    progress("scores", len(cycles), len(cycles))
    if not sizes.all_layers:
        return
    G = max(sizes.groups)
    groups = scorer.draw(G)
    last, everything = scorer.last(sizes.cycle, groups), scorer.all(sizes.cycle, groups, progress)
    yield from _spread(everything, sizes.cycle, G, ALL)
    tau = float(kendalltau(last.scores(), everything.scores()).statistic) if len(groups) > 1 else float("nan")
    yield Found("kernels", "tau of last and all layers", tau, sizes.cycle, G)


def _spread(conditioning: Conditioning, cycle: int, G: int, layers: str) -> Iterator[Found]:
    scores = conditioning.scores()
    found = Found("scores", "", 0.0, cycle, G, layers)
    for name, share in QUANTILES.items():
        yield found._replace(quantity=name, value=float(np.quantile(scores, share)))
    for name, value in (
        ("labelled set alone", conditioning.labelled),
        ("rounding", conditioning.floor),
        ("eigenvalue r", conditioning.index),
        ("rank bound", conditioning.bound),
    ):
        yield found._replace(quantity=name, value=float(value))
    for draw, score in enumerate(scores):
        yield found._replace(quantity="score", value=float(score), draw=draw)


def _epochs(scorer: _Scorer, Q: int, progress: Progress) -> Iterator[Found]:
    """Fig. 3a: log λ of the labelled set with a random group, against the epochs in which it is learned."""
    cycle, known = scorer.sizes.cycle, scorer.run.labelled(scorer.sizes.cycle).ids
    groups = scorer.draw(Q, scorer.sizes.trainings)
    scores, trainer = scorer.last(cycle, groups).scores(), Trainer(scorer.run, cycle)
    basis = f"{TRAINED}; each once, from the run's own beginning; scores of the network before"
    found = Found("epochs", "", 0.0, cycle, Q, LAST, basis=basis)
    trained = list[Training]()
    for draw, group in enumerate(groups):
        progress("trainings with random groups", draw, len(groups))
        trained.append(trainer(np.concatenate([known, scorer.ids[group]]), None, follow=True))
        took = trained[-1]
        values = ("score", scores[draw]), ("epochs to a tenth of the first loss", took.to_tenth)
        for name, value in (*values, ("epochs to the lowest test loss", took.to_lowest), ("epochs", took.epochs)):
            yield found._replace(quantity=name, value=float(value), draw=draw)
    progress("trainings with random groups", len(groups), len(groups))
    with np.errstate(divide="ignore"):
        logs = np.log(scores)
    for name, epochs in (
        ("epochs to a tenth of the first loss", [one.to_tenth for one in trained]),
        ("epochs to the lowest test loss", [one.to_lowest for one in trained]),
    ):
        rho, p, n = correlated(logs, np.array(epochs))
        for what, value in (("Spearman", rho), ("p", p), ("groups", n)):
            yield found._replace(quantity=f"{what}: log score and {name}", value=value)


def correlated(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Return Spearman's ρ, its p and how many pairs are finite; NaN where one of them does not vary.

    Args:
        x: ``[n]``.
        y: ``[n]``.

    """
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return float("nan"), float("nan"), float(len(x))
    found = spearmanr(x, y)
    return float(found.statistic), float(found.pvalue), float(len(x))


def _tables(scorer: _Scorer, Q: int, progress: Progress) -> Iterator[Found]:
    """Tables 1 and 2, one query deep: what networks of other seeds learn from CRC's query, by G and by kernel."""
    sizes, cycle = scorer.sizes, scorer.sizes.cycle
    queries: list[tuple[str, int, str, np.ndarray]] = []
    for G in dict.fromkeys(min(G, Q) for G in (*sizes.groups, Q)):
        groups = scorer.draw(G)
        queries.append(("crc", G, LAST, _best(groups, scorer.last(cycle, groups).scores(), Q)))
    if sizes.all_layers:
        G = max(1, Q // 10)
        groups = scorer.draw(G)
        for layers, of in ((LAST, scorer.last(cycle, groups)), (ALL, scorer.all(cycle, groups, progress))):
            queries.append(("crc, same groups", G, layers, _best(groups, of.scores(), Q)))
    queries.append(("random", 1, "", scorer.draw(1)[:Q, 0]))
    yield from _worth(scorer, "tables", queries, cycle, progress)


def _best(groups: np.ndarray, scores: np.ndarray, Q: int) -> np.ndarray:
    """Return the positions of a query: the members of the best groups, as many as are asked for."""
    return groups[np.argsort(-scores, kind="stable")].reshape(-1)[:Q]


def _transfer(scorer: _Scorer, Q: int, progress: Progress) -> Iterator[Found]:
    """Fig. 2: what the run's strategy asks for with an untrained network, learned by networks of other seeds."""
    run, cycle = scorer.run, scorer.run.cycles[0]
    queries = [("random", 1, "", scorer.draw(1)[:Q, 0])]
    for name, untrained in (("the trained network", False), ("an untrained network", True)):
        if (chosen := _asked(scorer, cycle, Q, untrained)) is not None:
            queries.append((f"{run.context.strategy.name} of {name}", 1, "", chosen))
    yield from _worth(scorer, "transfer", queries, cycle, progress)


def _asked(scorer: _Scorer, cycle: int, Q: int, untrained: bool) -> np.ndarray | None:
    """Return what the run's strategy asks for of the pool's images; None where it asks one by one or needs a port."""
    run, context = scorer.run, scorer.run.context.of_cycle(scorer.run.pool, cycle)
    strategy: QueryStrategy = context.strategy
    if strategy.needs_port or strategy.remembers or strategy.needs_learner is not None:
        return None
    with TemporaryDirectory() as folder:
        weights = run.trained[cycle]
        if untrained:
            weights = Path(folder)
            (weights / WEIGHTS).write_bytes(weight_bytes(context.network(FIRST_SEED - 1)))
        state = query_state(context, cycle, run.labelled(cycle), scorer.ids, weights, None)
        return np.argsort(-strategy.query(state, Q).candidate_scores, kind="stable")[:Q]


def _worth(
    scorer: _Scorer, part: str, queries: list[tuple[str, int, str, np.ndarray]], cycle: int, progress: Progress
) -> Iterator[Found]:
    """Train networks of other seeds on the labelled set with each query, and say how good they are on the test half."""
    known, trainer = scorer.run.labelled(cycle).ids, Trainer(scorer.run, cycle)
    total, done = len(queries) * scorer.sizes.seeds, 0
    for by, G, layers, chosen in queries:
        for seed in range(scorer.sizes.seeds):
            progress(f"trainings for {part}", done, total)
            took = trainer(np.concatenate([known, scorer.ids[chosen]]), seed)
            done += 1
            found = Found(part, "", 0.0, cycle, G, layers or None, seed, by, TRAINED)
            yield found._replace(quantity="test accuracy", value=took.test_accuracy)
            yield found._replace(quantity="epochs to a tenth of the first loss", value=took.to_tenth)
    progress(f"trainings for {part}", total, total)
