"""A strategy of one's own, beside random: the most unsure of what is typical."""

import numpy as np
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.queries import select_top
from pipeline.queries.uncertainty import entropy


class Density:
    """Unsure and typical: entropy times the mean cosine to all candidates."""

    name, needs_port = "density", False
    description, source = "unsure and typical of the candidates", "Settles & Craven, EMNLP 2008"

    def query(self, state, n):
        """Choose n candidates."""
        h = state.features / (1e-9 + np.linalg.norm(state.features, axis=1, keepdims=True))
        return select_top(state.candidates, entropy(state.probabilities) * (h @ h.mean(axis=0)), n)


if __name__ == "__main__":
    sizes = ["--n-init", "20", "--query-size", "10", "--cycles", "3", "--device", "cpu"]
    print("| strategy | test accuracy with 40 labels |\n|---|---|")
    for strategy in ("random", "own_strategy:Density"):  # this file, found in its folder
        ran = CliRunner().invoke(cli, ["run", "--strategy", strategy, *sizes, "--out", f"example-{strategy[:3]}"])
        if ran.exit_code:
            raise SystemExit(ran.output)
        final = next(line for line in ran.output.splitlines() if line.startswith("final test accuracy"))
        print(f"| {strategy} | {final.split()[3]} |")
