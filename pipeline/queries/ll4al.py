"""LL4AL: the candidates on which the network is expected to err most, by a module trained to foresee its loss."""

from pipeline.queries.base import QueryStrategy
from pipeline.queries.selection import Selection, select_top
from pipeline.queries.state import QueryState


class LL4AL(QueryStrategy):
    """Learning loss for active learning: query argmax_i l̂_i, the loss predicted by a module beside the network.

    Its run trains by the learner ``loss-prediction``, network and module together.

    Source: Yoo & Kweon 2019, section 3.1.
    """

    name = "ll4al"
    description = "largest loss as predicted by a module that is trained beside the network"
    source = "Yoo & Kweon 2019"
    needs_port = False
    needs_learner = "loss-prediction"

    def query(self, state: QueryState, n: int) -> Selection:
        """Choose the ``n`` candidates with the largest predicted loss."""
        return select_top(state.candidates, state.predicted_losses, n)
