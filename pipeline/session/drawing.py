"""What is asked without a network: representatives of the images while there is none yet, then what chance draws."""

from typing import TYPE_CHECKING

from pipeline import seeds
from pipeline.run.pool import INITIAL
from pipeline.session.first import FirstQuestions
from pipeline.session.turns import Turn

if TYPE_CHECKING:
    from pipeline.session.clerk import Clerk


class Drawing:
    """Draws samples in an order of the run's seed, in the clerk's thread.

    Args:
        clerk: that they are asked for.

    """

    def __init__(self, clerk: "Clerk") -> None:
        self._clerk = clerk
        order = seeds.generator(clerk.context.config.seed, 0, "initial").permutation(clerk.pool.size)
        self._drawn = iter(order.tolist())
        self._first = self._first_questions()

    @property
    def awaited(self) -> bool:
        """Whether the first question is being chosen, and will be there in a moment."""
        return self._first.awaited

    def new_turn(self, *, first: bool) -> Turn | None:
        """Draw what nobody was asked about, logged before anybody is shown it; None where nothing is left.

        Args:
            first: whether no network asks yet, so that representatives come first.

        """
        if first and (one := self._first.next(self._free)) is not None:
            self._clerk.log_query([one.sample], [0.0], None, initial=one.method)
            return Turn(one.sample, "typical", following=one.following)
        sample = next(filter(self._free, self._drawn), None)
        if sample is None:
            return None
        self._clerk.log_query([sample], [0.0], None)
        return Turn(sample, "random")

    def _free(self, sample: int) -> bool:
        pool = self._clerk.pool
        return pool.asked_in(sample) is None and sample not in pool.check_set

    def _first_questions(self) -> FirstQuestions:
        """Have representatives chosen, where no network was due yet."""
        clerk, context = self._clerk, self._clerk.context
        given = context.data.labelled_ids.tolist() if context.config.takes_given_labels else []
        wanted = context.config.query.n_init - len(given) if clerk.pool.round == INITIAL else 0

        def warn(line: str) -> None:
            clerk.tell(lambda: clerk.warn(line))

        return FirstQuestions(context, given, clerk.checks.ids, wanted, warn)
