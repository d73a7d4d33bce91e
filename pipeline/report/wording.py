"""What the report may say: every sentence about strategies follows from a test, or says that none can decide."""

from collections.abc import Iterable, Iterator

from pipeline.heldout import unclaimed
from pipeline.report.across import AcrossData
from pipeline.report.analysis import Analysis
from pipeline.report.balance import balanced_seeds, chance_of_balance, unequal_starts
from pipeline.report.families import Family, PairTest
from pipeline.report.figures import spell_seconds
from pipeline.report.headings import labelled_on_page, labelling
from pipeline.report.results import Excluded, Experiment, initial_set
from pipeline.report.sources import RANDOM, Choice
from pipeline.report.statistics import Band

WORTH_SAYING = 0.01  # seconds of selection
SMALLEST_P = 0.001
MOST_PAIRS = 3  # named in the summary


def percent(band: Band | None) -> str:
    """Return a band of shares as ``91.23 ± 0.45``, in percent."""
    if band is None:
        return "–"
    return f"{100 * band.mean:.2f}" + ("" if band.half is None else f" ± {100 * band.half:.2f}")


def points(band: Band | None) -> str:
    """Return a band of differences as ``+1.23 ± 0.45``, in points."""
    if band is None:
        return "–"
    return f"{100 * band.mean:+.2f}".replace("-", "−") + ("" if band.half is None else f" ± {100 * band.half:.2f}")


def p_value(p: float) -> str:
    """Return ``p = 0.031``, or ``p < 0.001``."""
    return f"p {p_number(p)}" if p < SMALLEST_P else f"p = {p_number(p)}"


def p_number(p: float) -> str:
    """Return ``0.031``, or ``< 0.001``."""
    return f"< {SMALLEST_P}" if p < SMALLEST_P else f"{p:.3f}"


def about_choice(choice: Choice, left_out: tuple[str, ...]) -> Iterator[str]:
    """Yield what was chosen for this report, and what that does to its p-values.

    Args:
        choice: what was asked for.
        left_out: strategies that were left out.

    """
    if left_out:
        yield (
            f"Only the strategies named for this report (--strategies) take part; left out, though there are runs of "
            f"them: {', '.join(left_out)}. Choosing strategies after seeing results makes p-values optimistic: they "
            "are corrected for the comparisons made here, not for those left out."
        )
    if choice.reference != RANDOM:
        yield (
            f"The baseline, {choice.reference}, was chosen for this report (--baseline {choice.reference}); by default "
            f"it is {RANDOM}. Choosing it after seeing results makes p-values optimistic."
        )


def summary(analysis: Analysis) -> Iterator[str]:
    """Yield the sentences that a reader with one minute needs."""
    yield _what(analysis)
    if analysis.measured:
        yield _areas(analysis)
        if not labelled_on_page(analysis.experiment):
            yield from _against_baseline(analysis)
        yield from _other_pairs(analysis)
    else:
        yield unmeasured(analysis.experiment)
    yield from _costs(analysis)


def unmeasured(experiment: Experiment) -> str:
    """Say that nothing is known of the accuracy, and how it would be.

    Args:
        experiment: of a run without test images.

    """
    sentence = unclaimed(experiment.config.data.name)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def _what(analysis: Analysis) -> str:
    if labelled_on_page(analysis.experiment):
        return labelling(analysis.experiment)
    labels = [row.n_labelled for run in analysis.experiment.runs for row in run.rows]
    names = analysis.experiment.strategies
    strategies = f"{len(names)} strategies ({', '.join(names)})" if len(names) > 1 else f"One strategy ({names[0]})"
    return f"{strategies}, {_seeds([line.seeds for line in analysis.lines])}, {min(labels)} to {max(labels)} labels."


def _seeds(counts: Iterable[int]) -> str:
    fewest, most = min(counts := list(counts)), max(counts)
    return f"{fewest} seed{'s' * (fewest != 1)} each" if fewest == most else f"{fewest} to {most} seeds each"


def _areas(analysis: Analysis) -> str:
    top = analysis.top
    text = f"{top.strategy} had the highest mean accuracy over the range of labels (AUBC), {percent(top.area)} %"
    if len(analysis.lines) == 1:
        return f"The mean accuracy over the range of labels (AUBC) was {percent(top.area)} %; nothing is compared."
    baseline = analysis.experiment.baseline
    base = [line for line in analysis.lines if line.strategy == baseline and line is not top]
    return text + (f"; {baseline} had {percent(base[0].area)} %." if base else ".")


def _against_baseline(analysis: Analysis) -> Iterator[str]:
    family, baseline = analysis.against_baseline, analysis.experiment.baseline
    yield from _absent(analysis.experiment)
    if family is None:
        return
    for test in family.tests:
        if test.winner:
            yield verdict(test)
    undecided = [test for test in family.tests if not test.winner]
    if undecided and family.can_decide:
        named = ", ".join(f"{test.a} ({points(test.difference)} points)" for test in undecided)
        yield f"No difference from {baseline} could be shown for {named}."
    elif undecided:
        named = ", ".join(f"{test.a} {points(test.difference)}" for test in undecided)
        yield f"Whether any strategy differs from {baseline} is open. {cannot_decide(family)}"
        yield f"Differences from {baseline} in this sample, in points of AUBC: {named}."


def _absent(experiment: Experiment) -> Iterator[str]:
    """Say so when the baseline, or random beside another baseline, does not take part."""
    baseline, names = experiment.baseline, experiment.strategies
    if baseline == RANDOM and RANDOM in experiment.left_out:
        yield (
            f"{RANDOM} was left out: without that baseline a comparison says little, so name it too, or choose another "
            "baseline (--baseline)."
        )
    elif baseline == RANDOM and RANDOM not in names:
        yield f"No run of {RANDOM} is finished: without that baseline a comparison says little, so run it too."
    elif baseline not in names:
        yield f"No run of {baseline}, the baseline, is finished here: nothing is tested against it."
    if baseline != RANDOM and RANDOM not in names:
        yield f"{RANDOM} takes no part: nothing here says whether any strategy is better than choosing at random."


def _other_pairs(analysis: Analysis) -> Iterator[str]:
    tests = analysis.all_pairs.tests if analysis.all_pairs else ()
    top = analysis.top.strategy
    decided = [test for test in tests if test.winner and analysis.experiment.baseline not in (test.a, test.b)]
    decided.sort(key=lambda test: test.winner != top)  # what most readers ask first
    for test in decided[:MOST_PAIRS]:
        yield verdict(test)
    if (more := len(decided) - MOST_PAIRS) > 0:
        yield f"{more} more of the other pairs {'is' if more == 1 else 'are'} decided; the matrix shows which."


def across_summary(across: AcrossData) -> str:
    """Say what the blocks together show."""
    if across.test is None:
        return across.why_not
    ranks = sorted(zip(across.test.ranks, across.strategies, strict=True))
    listed = ", ".join(f"{name} {rank:.2f}" for rank, name in ranks)
    start = f"Mean ranks over {len(across.areas)} blocks (1 is highest): {listed}. Friedman {p_value(across.test.p)}."
    if across.pairs is None:
        return f"{start} {across.why_not}"
    decided = [verdict(test, "blocks") for test in across.pairs.tests if test.winner]
    return " ".join([start, *decided]) if decided else f"{start} No pair is decided."


def verdict(test: PairTest, units: str = "seeds") -> str:
    """Say what a test decided; only for one with a winner.

    Args:
        test: of two strategies.
        units: what they are paired by.

    """
    if test.winner is None or test.difference is None:
        raise ValueError(f"expected a test that decided, got {test}")
    word = "better" if test.winner == test.a else "worse"
    return (
        f"{test.a} did {word} than {test.b}: {points(test.difference)} points of AUBC over {test.n} {units} "
        f"(corrected {p_value(test.corrected)})."
    )


def cannot_decide(family: Family) -> str:
    """Say why no test of a family can decide, and how many seeds would do."""
    fewest, most = family.seeds
    tests = len(family.tests)
    n = f"{most}" if fewest == most else f"{fewest} to {most}"
    these = f"these {tests} comparisons take" if tests > 1 else "this comparison takes"
    return f"With {n} common seed{'s' * (most != 1)} no test can decide: {these} at least {family.needed}."


def family_note(family: Family) -> str:
    """Say what a family's tests could show at all."""
    if not family.can_decide:
        return f"{cannot_decide(family)} The smallest corrected p that could come out was {family.smallest:.4g}."
    fewest, most = family.seeds
    n = f"{most}" if fewest == most else f"{fewest} to {most}"
    text = f"With {n} common seeds the smallest corrected p that could come out was {family.smallest:.4g}."
    if not all(test.can_decide for test in family.tests):
        text += f" Pairs with too few common seeds cannot be decided; {family.needed} seeds would do for all."
    return text


def footnotes(family: Family) -> Iterator[str]:
    """Yield what must be said about ties and approximations."""
    zeros = [f"{test.a} and {test.b} ({test.zeros})" for test in family.tests if test.zeros]
    if zeros:
        yield f"Seeds without any difference are left out of a test: {', '.join(zeros)}."
    rough = [f"{test.a} and {test.b}" for test in family.tests if not test.exact]
    if rough:
        yield f"Normal approximation instead of exact p, because of ties or many seeds: {', '.join(rough)}."


def _costs(analysis: Analysis) -> Iterator[str]:
    top = analysis.top
    if top.reached and top.reached.mean is not None:
        yield (
            f"To reach {analysis.experiment.baseline}'s final accuracy of the same seed, {top.strategy} took "
            f"{top.reached.mean:.0f} labels on average ({top.reached.reached} of {top.reached.n} seeds reached it)."
        )
    timed = [(line.seconds.mean, line.strategy) for line in analysis.lines if line.seconds]
    if len(timed) > 1 and max(timed)[0] >= WORTH_SAYING:
        yield f"The slowest to select was {max(timed)[1]}, {spell_seconds(max(timed)[0])} a query."


def warnings_about(analysis: Analysis) -> Iterator[str]:
    """Yield what a sceptical reader must know before believing the numbers."""
    experiment = analysis.experiment
    if seeds := balanced_seeds(experiment):
        size = len(experiment.classes)
        chance = chance_of_balance(len(initial_set(experiment.runs[0])), size)
        yield (
            f"The initial set has exactly as many samples of each of the {size} classes at {_named('seed', seeds)}. "
            f"A uniform draw does that with probability {chance:.2g}; a set that is balanced by labels nobody has yet "
            "flatters every strategy."
        )
    if hidden := [run.hidden for run in experiment.runs if run.hidden]:
        yield (
            f"{len(hidden)} of {len(experiment.runs)} runs read {min(hidden):,} to {max(hidden):,} labels that nobody "
            "had given (query.initial balanced, query.by_class or query.initial_models), which flatters every strategy."
        )
    if seeds := unequal_starts(experiment):
        yield f"At {_named('seed', seeds)} the strategies did not start from the same labelled set: no fair pairs."
    rows = [row for run in experiment.runs for row in run.rows]
    stopped = sum(not row.converged for row in rows)
    if stopped:
        yield (
            f"{stopped} of {len(rows)} trainings ended before they converged, which strategies that look ahead "
            "assume that they do."
        )


def _named(word: str, numbers: list[int]) -> str:
    return f"{word}{'s' * (len(numbers) != 1)} {', '.join(map(str, numbers))}"


def rule_of_exclusion(excluded: tuple[Excluded, ...], left_out: tuple[str, ...] = ()) -> str:
    """State by which rule runs are left out.

    Args:
        excluded: the runs.
        left_out: strategies that were left out.

    """
    every = "Every run of the strategies named took part" if left_out else "Every run took part"
    beside = ", besides those of strategies that were not named" if left_out else ""
    count = f"{len(excluded)} run{'s' * (len(excluded) != 1)} took no part{beside}" if excluded else every
    return (
        f"{count}. Rule: a run takes part as a whole once it is finished, and not at all before; two strategies are "
        "compared at the seeds that both have."
    )
