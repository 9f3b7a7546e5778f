"""What a study tells beside its scores: val against test, what was tried, what the test list is worth."""

from dataclasses import replace

import pytest
from rich.console import Console

from reports.screen.studies import Labelled, Planned, gap_table, optimism_table, plan_table
from reports.screen.terminal import show
from tests.reports.screen.records import record


def text(table) -> str:
    console = Console(width=160, record=True)
    console.print(table)
    return console.export_text()


def run(seed: int, test: float, val: float | None = 0.6, protocol: str = "clean", data: str = "real"):
    made = record("mbt", seed, test)
    return replace(
        made,
        spec=replace(made.spec, seed=seed, protocol=protocol, data=data),
        scores={**made.scores, "test/acc_e": test, "val/acc_e": val},
    )


def test_the_gap_is_val_minus_test_with_the_number_of_configurations_tried():
    told = text(gap_table([Labelled("mbt", run(0, 0.5), 20), Labelled("mbt", run(1, 0.4), 20)]))
    assert "60.0 ± 0.0" in told and "45.0 ± 7.1" in told and "+15.0" in told and " 20 " in told


def test_runs_whose_val_is_no_val_have_no_gap():
    assert gap_table([Labelled("mbt", run(0, 0.5, None, "best-on-test"), 1)]) is None


def test_optimism_pairs_runs_of_one_seed_and_gives_an_interval():
    rows = [Labelled("mbt", run(seed, 0.5), 1) for seed in (0, 1, 2)]
    rows += [Labelled("mbt", run(s, 0.5 + gain, None, "best-on-test"), 1) for s, gain in enumerate((0.02, 0.04, 0.06))]
    told = text(optimism_table(rows))
    assert "+4.0" in told and "-1.0 to +9.0" in told and " 3 " in told  # 4 ± 4.303 * 2 / sqrt(3)


def test_optimism_of_one_pair_has_no_interval():
    told = text(
        optimism_table([Labelled("mbt", run(0, 0.5), 1), Labelled("mbt", run(0, 0.6, None, "best-on-test"), 1)])
    )
    assert "+10.0" in told and "one pair: none" in told


@pytest.mark.parametrize("table", [gap_table, optimism_table])
def test_the_sample_is_named_in_every_table(table):
    rows = [Labelled("mbt", run(0, 0.5, data="sample"), 1)]
    rows += [Labelled("mbt", run(0, 0.5, None, "best-on-test", "sample"), 1)]
    assert "BUILT-IN SAMPLE" in text(table(rows))


def test_a_protocol_stands_beside_the_name_wherever_its_numbers_do():
    told = text(show([run(0, 0.5), run(0, 0.6, None, "best-on-test"), run(0, 0.7, None, "refit")], {}))
    assert told.count("mbt (EPOCH CHOSEN ON TEST)") >= 1 and told.count("mbt (refit on train + val)") >= 1


def test_a_plan_counts_what_is_done_left_and_failed():
    told = text(plan_table([Planned("ekman6", "mart", "per-arm", 3, 2, 1), Planned("ekman6", "mbt", "quick", 5, 0, 0)]))
    assert "per-arm" in told and "3" in told and "failed" in told
