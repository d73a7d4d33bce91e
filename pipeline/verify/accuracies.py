"""What a run says that its networks achieved, computed again from their weights, the test images and the check set."""

from collections.abc import Callable

import numpy as np
from torch import nn

from pipeline.errors import PipelineError
from pipeline.machine import hardware
from pipeline.places import EVENTS
from pipeline.plain import differences
from pipeline.run.check_set import PREDICTED
from pipeline.run.context import RunContext, open_context
from pipeline.run.logged import machine_of
from pipeline.run.reading import cycle_path
from pipeline.run.recorded import confirm_code, named_code
from pipeline.run.stages.store import read_manifest
from pipeline.run.stages.train import WEIGHTS, read_summary, test_metrics
from pipeline.run.threads import recorded_threads
from pipeline.verify.findings import Findings
from pipeline.verify.record import Record
from trainer.checkpoint import load_weights
from trainer.predict import predict
from trainer.threads import with_threads

SLACK = 0.005
"""How far an accuracy may be off on another machine, whose rounding turns the class of an image here and there."""


def check_accuracies(
    record: Record, found: Findings, *, trust_code: bool = False, say: Callable[[str], None] = lambda _: None
) -> None:
    """Compute the test accuracy of every network again, and what it takes the check set for.

    Args:
        record: of the run, with its data.
        found: takes in what is wrong.
        trust_code: whether a network of the user's own may be imported.
        say: told what code runs.

    """
    cycles = [cycle for cycle, stage in record.log.done if stage == "train"]
    whole = [cycle for cycle in cycles if read_manifest(cycle_path(record.run, cycle) / "train") is not None]
    if not whole or record.data is None or not (len(record.data.test) or record.pool.check_set):
        return
    if (code := named_code(record.config)) and not trust_code:
        names = ", ".join(one.name for one in code)
        found.note(record.run, f"accuracies are not computed again, for that runs {names}: give --trust-code for it")
        return
    confirm_code(record.run, code, trust_code, say, record.events[0])
    with found.reading(record.run):
        context = open_context(record.config, run=record.run, checked=False)
        with with_threads(recorded_threads(record.config, record.events)):
            for cycle in whole:
                _check(record, context.of_cycle(record.pool, cycle), cycle, _slack(record), found)


def _slack(record: Record) -> float:
    began = machine_of(record.events[0])
    now = machine_of({"hardware": hardware(), "threads": began.get("threads")})
    return SLACK if differences(began, {name: now.get(name) for name in began}) else 0.0


def _check(record: Record, context: RunContext, cycle: int, slack: float, found: Findings) -> None:
    directory = cycle_path(record.run, cycle) / "train"
    model = context.network()
    load_weights(model, directory / WEIGHTS)
    found.count("networks")
    _check_predictions(record, context, model, cycle, slack, found)
    if not len(context.data.test):
        return
    said, measured = read_summary(directory), test_metrics(context, model)
    if "test_accuracy" not in said:
        raise PipelineError(f"{directory / 'summary.json'}: expected a test accuracy, got none")
    if abs(said["test_accuracy"] - measured["test_accuracy"]) > slack:
        found.fault(
            directory / "summary.json",
            f"says a test accuracy of {said['test_accuracy']:.4g}, but the weights beside it have "
            f"{measured['test_accuracy']:.4g}",
        )


def _check_predictions(
    record: Record, context: RunContext, model: nn.Module, cycle: int, slack: float, found: Findings
) -> None:
    said: dict[int, int] = {}
    for event in record.events:
        if event["event"] == PREDICTED and event["cycle"] == cycle:
            said.update(map(tuple, event["labels"]))
    if not said:
        return
    outputs = predict(model, context.images(np.array(list(said))), device=context.device)
    differ = int((outputs.argmax(1) != np.array(list(said.values()))).sum())
    if differ > slack * len(said) + bool(slack):
        found.fault(
            record.run / EVENTS,
            f"says what the network of cycle {cycle} takes the check set for, but its weights take {differ} of "
            f"{len(said)} images for something else",
        )
