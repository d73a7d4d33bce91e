"""`benchmarks/against_all.py` by hand."""

from benchmark_scripts import benchmark, invoke

CELLS = """strategy,seed,labels,aubc,final
ours,0,60,0.80,0.9
ours,1,60,0.70,0.9
ours,2,60,0.75,0.9
theirs,0,60,0.78,0.8
theirs,1,60,0.69,0.8
theirs,2,60,0.74,0.8
theirs,3,60,0.99,0.8
worse,0,60,0.50,0.7
worse,1,60,0.40,0.7
worse,2,60,0.45,0.7
"""


def test_gains_and_tests_by_hand(monkeypatch, tmp_path):
    (tmp_path / "cells.csv").write_text(CELLS)
    module = benchmark(monkeypatch, "against_all")
    lines = invoke(module.main, "table", tmp_path / "cells.csv", "--baseline", "ours").splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| theirs", "| ours", "| worse"]  # by mean area
    # gains of 2, 1, 1 points: 4/3 ± t(0.975, 2) 0.577 / √3; three equal signs have p = 0.25, twice that after Holm
    assert lines[2].endswith("| +1.33 ± 1.43 | 3 of 3 | 0.2500 (0.500) |")
    assert lines[4].endswith("| +30.00 ± 0.00 | 3 of 3 | 0.2500 (0.500) |")
    alone = invoke(module.main, "table", tmp_path / "cells.csv", "--baseline", "ours", "--strategies", "worse")
    assert "(0.250)" in alone
    assert "theirs" not in alone
