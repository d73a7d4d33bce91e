"""An engine for tests of comparisons."""

from pathlib import Path

from pipeline.errors import RunFailedError
from pipeline.sweep.process import Attempt


class InProcess:
    """An engine that runs cells one after the other in this process, and fails those it is told to fail."""

    is_local, jobs, cpus, memory = True, 1, 1, 2**31

    def __init__(self, go_on):
        self.go_on, self.failing, self.ran = go_on, {}, []

    def run(self, tasks):
        for task in tasks:
            yield None
            self.ran.append(task.name)
            reason = self.failing.get(task.name, "")
            if not reason:
                try:
                    self.go_on(Path(task.run))
                except RunFailedError as error:
                    reason = str(error)
            yield Attempt(task.name, 1 if reason else 0, reason, seconds=2.0, stage_seconds=1.0, peak_memory=2**28)

    def close(self):
        self.ran.append("closed")
