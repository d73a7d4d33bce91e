"""The networks of a clerk: which one asks, which one is being trained beside it, and when the next is due."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pipeline.advise.doubts import Doubts
from pipeline.errors import PipelineError, RunFailedError
from pipeline.run.pool import INITIAL
from pipeline.run.stages.train import training_cautions
from pipeline.session.desk import DeskError
from pipeline.session.drawing import Drawing
from pipeline.session.network import LostError, NetworkProcess
from pipeline.session.order import Failure, Ready
from pipeline.session.orders import candidates_of, of_earlier_rounds, order_of, verify_stages
from pipeline.session.turns import Turn

if TYPE_CHECKING:
    from pipeline.session.clerk import Clerk

ATTEMPTS = 3
"""How often one network is tried before the session goes on without it."""


class Networks:
    """Keeps one network asking and at most one more in the making; all of it in the session's thread.

    Args:
        clerk: that they belong to.

    """

    def __init__(self, clerk: "Clerk") -> None:
        self._clerk, self._run = clerk, clerk.run
        self._serving: NetworkProcess | None = None
        self._making: NetworkProcess | None = None
        self._spare: NetworkProcess | None = self._new_process()  # its imports and data are there when it is needed
        self._stopped = False
        self._restoring = False  # whether the network in the making asked before, in another process
        self._attempts: dict[int, int] = {}
        self._following: list[int] = []
        self._drawing = Drawing(clerk)
        if clerk.pool.round == INITIAL:  # the first network is the one that is waited for
            with suppress(LostError):  # its end is reported
                self._spare.rehearse(clerk.threads)

    @property
    def serving(self) -> int | None:
        """Number of the network that asks; None while samples are drawn at random."""
        return None if self._serving is None else self._serving.cycle

    @property
    def serving_labels(self) -> int | None:
        """Labels that the network that asks was trained on."""
        return None if self._serving is None or self._serving.ready is None else self._serving.ready.labels

    @property
    def opening(self) -> bool:
        """Whether a network that asked before is being opened again, and none asks meanwhile."""
        return self._serving is None and self._restoring

    @property
    def waiting(self) -> bool:
        """Whether the first question is being chosen, and will be there in a moment."""
        return self._serving is None and self._drawing.awaited

    @property
    def making(self) -> NetworkProcess | None:
        """The network in the making."""
        return self._making

    @property
    def doubts(self) -> Doubts:
        """Labels that look wrong to the network that asks."""
        return Doubts() if self._serving is None or self._serving.ready is None else self._serving.ready.doubts

    @property
    def learned(self) -> set[int]:
        """What the network that asks was trained on."""
        return set() if self._serving is None else set(self._serving.order.labelled.ids.tolist())

    @property
    def pending(self) -> bool:
        """Whether a network that is not there yet is still to be made."""
        return self._due() or self._missing() is not None

    def go_on(self) -> None:
        """Close the round where a new network is due, and begin to make it."""
        pool = self._clerk.pool
        if self._making is not None or self._stopped:
            return
        if (missing := self._missing()) is not None:
            self._begin(missing)
        elif self._due():
            self._clerk.rounds.write(pool.round)  # first: no kill leaves a closed round without its files
            self._clerk.rounds.close(pool.round)
            self._begin(pool.round)

    def new_turn(self) -> Turn | None:
        """Choose something new to ask, and log it before anybody is shown it; None where nothing can be chosen now."""
        if self._serving is None:
            return None if self.opening or self.waiting else self._draw()
        record = self._clerk.record(self._serving.cycle, self._serving.late)
        try:
            chosen = self._serving.choose(record)
        except LostError as error:
            self._lost(str(error))
            return self.new_turn()
        except RunFailedError as error:
            self._clerk.warn(
                f"{self._named(self._serving.cycle)} cannot choose ({error}): images are drawn at random",
                self._serving.cycle,
            )
            return self._draw()
        if not chosen.ids:
            return self._draw()  # the candidates are used up: the others are, until there is a new network
        self._clerk.log_query(chosen.ids, chosen.scores, self._serving.cycle)
        self._following = chosen.following
        return Turn(chosen.ids[0], "network", chosen.milliseconds, (*chosen.ids[1:], *chosen.following))

    def new_grid(self, label: int, size: int, put_off: Sequence[int]) -> tuple[int, ...]:
        """Choose the likeliest candidates of a class and log them as asked; those of earlier grids come first.

        Args:
            label: the class.
            size: how many at most.
            put_off: samples of earlier grids that nobody confirmed.

        Raises:
            DeskError: no network asks yet, or it takes nothing for that class.

        """
        clerk, serving = self._clerk, self._serving
        if serving is None:
            raise DeskError("there is no network yet that could sort images: label some one by one first")
        try:
            guesses = serving.predictions(put_off)
            left = [sample for sample, (guess, _) in guesses.items() if guess == label][:size]
            likely = serving.likely(clerk.record(serving.cycle, serving.late), label, size - len(left))
        except LostError as error:
            self._lost(str(error))
            raise DeskError("the network has to be opened again: try again in a moment", 503) from error
        if likely.ids:
            clerk.log_query(likely.ids, likely.probabilities, serving.cycle, grid=clerk.classes[label])
            clerk.turns.put_off.update(likely.ids)
        if not left and not likely.ids:
            looked_at = 0 if serving.ready is None else len(serving.ready.candidates)
            raise DeskError(
                f"of the {looked_at:,} images that this network looked at none is left that it takes for "
                f"{clerk.classes[label]!r}; the next network looks at others"
            )
        return (*left, *likely.ids)

    def ask_of_copies(self, sample: int, copies: list[int]) -> None:
        """Log that somebody asked to label near-copies, before their labels are.

        Args:
            sample: that they are copies of.
            copies: ids that nobody was asked about.

        """
        self._clerk.log_query(copies, [0.0] * len(copies), self.serving, copies_of=sample)

    def predictions(self, samples: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return what the network takes samples for, and how likely, as far as it says.

        Args:
            samples: ids.

        """
        if self._serving is None:
            return {}
        try:
            guesses = self._serving.predictions(samples)
        except LostError as error:
            self._lost(str(error))
            return {}
        except RunFailedError:
            return {}
        classes = self._clerk.classes
        return {sample: {"label": classes[label], "probability": p} for sample, (label, p) in guesses.items()}

    def stop(self) -> None:
        """End the processes, from any thread; none is begun after that."""
        self._stopped = True
        for network in (self._serving, self._making, self._spare):
            if network is not None:
                network.stop()

    def _draw(self) -> Turn | None:
        return self._drawing.new_turn(first=self._serving is None)

    def _due(self) -> bool:
        """Whether there are enough labels for a first or a new network."""
        clerk, pool = self._clerk, self._clerk.pool
        if len(set(pool.current.values())) < 2:
            return False
        if clerk.products.wanted:
            return pool.round == INITIAL or bool(pool.touched(pool.round))
        query = clerk.context.config.query
        if pool.round == INITIAL:
            return len(pool.current) >= query.n_init
        return len(pool.answers(pool.round)) >= query.answers

    def _given_up(self, cycle: int) -> bool:
        return self._attempts.get(cycle, 0) >= ATTEMPTS

    def _reached(self, cycle: int) -> bool:
        return self._serving is not None and self._serving.cycle >= cycle

    def _trained(self, cycle: int) -> bool:
        return self._run.has_stage(cycle, "train")

    def _missing(self) -> int | None:
        """Return the network to make next: the newest; while none asks and that one is not trained, the one before."""
        newest = self._clerk.pool.round
        if newest == INITIAL or self._reached(newest):
            return None
        wanted = not self._given_up(newest)
        if self._serving is None and not (wanted and self._trained(newest)):
            before = next((cycle for cycle in range(newest - 1, -1, -1) if self._trained(cycle)), None)
            if before is not None and not self._given_up(before):
                return before
        return newest if wanted else None

    def _begin(self, cycle: int) -> None:
        clerk = self._clerk
        try:
            self._restoring = self._trained(cycle) and verify_stages(clerk, cycle)
            order = order_of(clerk, cycle)
            process, self._spare = self._spare or self._new_process(), None
            process.begin(order)
            self._making = process
        except (PipelineError, RunFailedError, OSError) as error:
            self._failed(cycle, Failure(str(error)))
        clerk.version += 1

    def _new_process(self) -> NetworkProcess:
        return self._clerk.network(self._run.path, self._clerk.cache, self._report)

    def _report(self, network: NetworkProcess, kind: str, content: Any) -> None:
        """Take what a network process reports into the session's own thread."""
        self._clerk.tell(lambda: self._take(network, kind, content))

    def _take(self, network: NetworkProcess, kind: str, content: Any) -> None:
        if network is self._serving and kind == "failed":
            self._lost(content.reason)
        if network is self._spare and kind == "failed":
            self._spare = None  # the next order starts a process that says why
        if network is not self._making:
            return
        self._clerk.version += 1
        if kind == "stage":
            network.stage = content
        elif kind == "candidates":
            candidates = candidates_of(self._clerk, network.order, self._following)
            network.late = of_earlier_rounds(self._clerk, candidates.tolist(), network.cycle)
            self._give(network, candidates)
        elif kind == "record":
            self._give(network, self._clerk.record(network.cycle, network.late))
        elif kind == "ready":
            self._take_over(network, content)
        elif kind == "failed":
            network.stop()
            self._making = None
            self._failed(network.cycle, content)

    def _give(self, network: NetworkProcess, answer: Any) -> None:
        with suppress(LostError):  # its end is reported
            network.give(answer)

    def _take_over(self, network: NetworkProcess, ready: Ready) -> None:
        """Let a new network ask from now on."""
        clerk, cycle = self._clerk, network.cycle
        self._making, self._restoring = None, False
        try:
            whole = verify_stages(clerk, cycle)
        except BaseException:  # such as a full disk: what goes on next makes it again
            network.stop()
            raise
        if not whole:
            network.stop()
            self._failed(cycle, Failure(f"cycle {cycle}: what was just made is damaged"))
            return
        network.ready = ready
        self._spare = self._spare or self._new_process()
        if self._serving is not None:
            threading.Thread(target=self._serving.stop, daemon=True).start()  # nobody waits for it to end
        self._serving = network
        if not self._run.has("cycle_done", cycle=cycle):
            self._run.append("cycle_done", cycle=cycle)
        clerk.checks.note(cycle, ready.checked)
        clerk.settled(cycle)
        for caution in training_cautions(self._run.stage_path(cycle, "train")):
            clerk.say(f"{self._named(cycle)}: {caution}")
        clerk.products.read_curve()
        with suppress(LostError):
            self._spare.report()
        self.go_on()
        clerk.products.go_on()

    def _failed(self, cycle: int, failure: Failure) -> None:
        clerk = self._clerk
        self._attempts[cycle] = self._attempts.get(cycle, 0) + 1
        event: dict[str, Any] = {"cycle": cycle, "reason": failure.reason}
        if failure.max_lr is not None:
            event["max_lr"] = failure.max_lr
        if not {"event": "failed", **event}.items() <= self._run.events[-1].items():
            self._run.append("failed", **event)
        last = self._attempts[cycle] >= ATTEMPTS
        again = "" if last else "; trying again"
        clerk.warn(f"{self._named(cycle)} could not be made ({failure.reason}){again}", cycle)
        self._restoring = False
        if last:
            clerk.products.go_on()
        self.go_on()

    def _named(self, cycle: int) -> str:
        """Name a network as people know it."""
        return f"the network of {len(self._clerk.pool.labelled(cycle)):,} labels"

    def _lost(self, reason: str) -> None:
        """Open the network that asked again, whose process died; not for ever, where that is what it dies of."""
        if self._serving is not None:
            cycle = self._serving.cycle
            self._serving.stop()
            self._serving = None
            self._attempts[cycle] = self._attempts.get(cycle, 0) + 1
            what = "is not opened again" if self._given_up(cycle) else "is opened again"
            self._clerk.warn(f"{self._named(cycle)} {what} ({reason})", cycle)
            self.go_on()
