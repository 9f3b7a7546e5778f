"""Tables of a study in addition to scores: val against test, configurations tried, gain from selecting on test."""

import pytest
from rich.console import Console

from reports.terminal import ArmProgress, make_gap_table, make_optimism_table, make_plan_table
from tests.reports.screen.records import run


def text(table) -> str:
    console = Console(width=160, record=True)
    console.print(table)
    return console.export_text()


def on_test(seed: int = 0, acc: float = 0.5, **values):
    return run(seed=seed, acc=acc, protocol="best-on-test", **values)


def test_the_gap_is_val_minus_test_with_the_number_of_configurations_tried():
    shown = text(make_gap_table([run(seed=0, acc=0.5, val=0.61, tried=20), run(seed=1, acc=0.4, val=0.6, tried=20)]))
    assert "60.50 ± 0.71" in shown and "45.0 ± 7.1" in shown and "+15.5 ± 6.4" in shown
    assert "tried" in shown and " 20 " in shown


def test_runs_whose_val_is_no_val_have_no_gap():
    assert make_gap_table([on_test()]) is None


def test_optimism_pairs_runs_of_one_seed_and_gives_an_interval():
    clean = [run(seed=seed) for seed in (0, 1, 2)]
    shown = text(make_optimism_table([*clean, *(on_test(s, 0.5 + gain) for s, gain in enumerate((0.02, 0.04, 0.06)))]))
    assert "+4.0 [−1.0, +9.0]" in shown and " 3 " in shown  # 4 ± 4.303 * 2 / sqrt(3)


def test_optimism_of_one_pair_has_no_interval():
    shown = text(make_optimism_table([run(), on_test(acc=0.6)]))
    assert "+10.0" in shown and "[" not in shown


def test_without_pairs_there_is_no_table_of_optimism():
    assert make_optimism_table([run(), on_test(seed=1)]) is None


@pytest.mark.parametrize("table", [make_gap_table, make_optimism_table])
def test_the_sample_is_named_in_every_table(table):
    assert "BUILT-IN SAMPLE" in text(table([run(val=0.6, data="sample"), on_test(data="sample")]))


def test_a_plan_counts_what_is_done_left_and_failed():
    shown = text(
        make_plan_table(
            [ArmProgress("ekman6", "mart", "per-arm", 3, 2, 1), ArmProgress("ekman6", "mbt", "quick", 5, 0, 0)]
        )
    )
    assert "per-arm" in shown and "3" in shown and "failed" in shown
