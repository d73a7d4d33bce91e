"""What a network is to be made of, by a run's log: its labels, what went before it, and what it is to choose among."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline import seeds
from pipeline.run.rundir import Stage
from pipeline.run.stages.binding import inputs_sha256
from pipeline.run.stages.score import SCORES, read_scores
from pipeline.run.stages.train import rate_left
from pipeline.session.child import RESULTS, stages_before
from pipeline.session.order import Order

if TYPE_CHECKING:
    from pipeline.session.clerk import Clerk

SCORE: Stage = "score"


def order_of(clerk: "Clerk", cycle: int) -> Order:
    """Return the order to make a cycle's network.

    Args:
        clerk: of the session.
        cycle: number of the network.

    """
    run, pool = clerk.run, clerk.pool
    return Order(
        run_id=run.run_id,
        cycle=cycle,
        labelled=pool.labelled(cycle),
        added_classes=pool.classes_before(cycle),
        previous=_last_before(clerk, cycle, "train"),
        max_lr=rate_left(run.events, cycle),
        threads=clerk.threads,
        remembered=_remembered(clerk, cycle),
        check=clerk.checks.ids,
    )


def verify_stages(clerk: "Clerk", cycle: int) -> bool:
    """See to it that a network's stages are there, undamaged and logged; others are set aside, to be done again.

    Args:
        clerk: of the session.
        cycle: number of the network.

    """
    run, context, labelled = clerk.run, clerk.context, clerk.pool.labelled(cycle)
    classes = clerk.pool.classes_before(cycle)
    for stage in (*stages_before("score", context), SCORE):
        previous = _last_before(clerk, cycle, "train") if stage == "train" else None
        results = {"previous": previous[1]} if previous else {}
        results |= {one: run.result_of(cycle, one) for one in stages_before(stage, context)}
        if stage == SCORE and (remembered := _remembered(clerk, cycle)):
            results["memory"] = remembered[1]
        if run.find_stage(cycle, stage, RESULTS[stage], inputs_sha256(labelled, results, classes)) is None:
            return False
    return True


def candidates_of(clerk: "Clerk", order: Order, following: Sequence[int]) -> np.ndarray:
    """Return what a network is to choose among: what it chose among before, or what was asked since its labels and what
    is likely to be asked while it is opened, and then a draw.  What is open of earlier rounds is there, too, so that
    late answers can be taken in.

    Args:
        clerk: of the session.
        order: of the network.
        following: samples that are likely to be asked meanwhile.

    Returns:
        Ids ``[U]``.

    """
    pool, cycle = clerk.pool, order.cycle
    scored = clerk.run.stage_path(cycle, "score")
    if clerk.run.has_stage(cycle, "score") and (scored / SCORES).is_file():
        drawn = read_scores(scored).candidates
    else:
        generator = seeds.generator(clerk.context.config.seed, cycle, "subset")
        learned = set(order.labelled.ids.tolist())
        late = [sample for sample in pool.open(cycle) if sample not in learned and sample not in pool.check_set]
        drawn = np.array([*late, *pool.candidates(cycle, clerk.context.config.query.subset, generator)], np.int64)
    asked = [sample for round_, ids in pool.queries.items() if round_ >= cycle for sample in ids]
    following = [sample for sample in following if pool.asked_in(sample) is None]
    first = dict.fromkeys(sample for sample in (*asked, *following) if sample not in pool.check_set)
    return np.array([*first, *(sample for sample in drawn.tolist() if sample not in first)], np.int64)


def of_earlier_rounds(clerk: "Clerk", samples: Iterable[int], cycle: int) -> tuple[int, ...]:
    """Return those samples that were asked about before the round in which a network asks.

    Args:
        clerk: of the session.
        samples: ids.
        cycle: number of the network.

    """
    asked = {sample: clerk.pool.asked_in(sample) for sample in samples}
    return tuple(sample for sample, round_ in asked.items() if round_ is not None and round_ < cycle)


def _remembered(clerk: "Clerk", cycle: int) -> tuple[int, str] | None:
    return _last_before(clerk, cycle, SCORE) if clerk.context.strategy.remembers else None


def _last_before(clerk: "Clerk", cycle: int, stage: Stage) -> tuple[int, str] | None:
    """Return the last cycle before one in which a stage was done, and the hash of its result."""
    run = clerk.run
    earlier = next((c for c in range(cycle - 1, -1, -1) if run.has_stage(c, stage)), None)
    return None if earlier is None else (earlier, run.result_of(earlier, stage))
