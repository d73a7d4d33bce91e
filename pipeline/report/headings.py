"""What a report is called and begins with: a comparison, one strategy's run, or what people labelled."""

from collections.abc import Sequence

from pipeline.report.results import Experiment


def labelled_on_page(experiment: Experiment) -> bool:
    """Whether it is one run that people labelled, so that nothing is compared.

    Args:
        experiment: its runs.

    """
    return experiment.config.paged and len(experiment.runs) == 1


def compares(experiments: Sequence[Experiment]) -> bool:
    """Whether there is more than one strategy anywhere.

    Args:
        experiments: of the report.

    """
    return any(len(experiment.strategies) > 1 for experiment in experiments)


def heading(experiments: Sequence[Experiment]) -> str:
    """Return what the report is called.

    Args:
        experiments: of the report.

    """
    if all(labelled_on_page(experiment) for experiment in experiments):
        return "What was labelled"
    return "Comparison of query strategies" if compares(experiments) else "One query strategy"


def labelling(experiment: Experiment) -> str:
    """Say what people did and networks learned, of one run that they labelled.

    Args:
        experiment: with that run.

    """
    [run] = experiment.runs
    people = run.labellers.people if run.labellers else ()
    said = ", ".join(f"{who.name} ({who.labels})" for who in people)
    labels = [row.n_labelled for row in run.rows]
    learned = f"{min(labels)} to {max(labels)} labels" if min(labels) < max(labels) else f"{max(labels)} labels"
    networks = "One network" if len(labels) == 1 else f"{len(labels)} networks one after another"
    by = f"Labels by {said}. " if said else ""
    return f"{by}{networks} learned from {learned}. What they asked was chosen by {run.strategy}."
