"""The weights of a run's backbone, compared with those that it began with."""

from collections.abc import Callable

from pipeline.places import EVENTS
from pipeline.run.embedding import embedder_of
from pipeline.run.recorded import confirm_code, named_code
from pipeline.verify.findings import Findings
from pipeline.verify.record import Record
from trainer.backbones import own_code


def check_backbone(
    record: Record, found: Findings, *, trust_code: bool = False, say: Callable[[str], None] = lambda _: None
) -> None:
    """Check that a run's backbone is there, with the weights that the run began with.

    Args:
        record: of the run.
        found: takes in what is wrong.
        trust_code: whether a backbone of the user's own may be imported.
        say: told what code runs.

    """
    name, began = record.config.data.backbone, record.events[0].get("backbone")
    if name is None or began is None:
        return
    if own_code(name):
        if not trust_code:
            found.note(record.run, f"the backbone's weights are not compared, for that runs {name}: give --trust-code")
            return
        code = [one for one in named_code(record.config) if one.target == name]
        confirm_code(record.run, code, trust_code, say, record.events[0])
    say("the backbone's weights")
    with found.reading(record.run / EVENTS):
        embedder_of(record.config, record.events[0])
        found.count("backbones")
