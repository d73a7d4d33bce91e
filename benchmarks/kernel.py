"""The kernel engine measured: every figure is a ratio of one run on one machine; the seconds are of the machine.

    python benchmarks/kernel.py peer         # against neural-tangents (README): one call, batches, a pool
    python benchmarks/kernel.py gram         # the Gram stage against the machine's own matrix product
    python benchmarks/kernel.py scaling      # seconds and memory over N and P
    python benchmarks/kernel.py memory       # estimated and measured peaks under memory budgets
    python benchmarks/kernel.py calibrate    # the constants of linearize/engine/costs.py on this machine

`--small` makes a smoke run of seconds of any of them; its ratios mean nothing.  Nothing else should run meanwhile.
"""

import click
from kernel_gram import calibrate, gram
from kernel_memory import memory, point, scaling
from kernel_peer import peer


@click.group()
def main() -> None:
    """Benchmarks of the kernel engine."""


for command in (peer, gram, scaling, memory, calibrate, point):
    main.add_command(command)

if __name__ == "__main__":
    main()
