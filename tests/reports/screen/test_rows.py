from reports.screen.rows import Number, gather
from tests.reports.screen.records import record


def test_a_row_is_the_mean_and_the_spread_over_seeds_in_percent():
    (row,) = gather([record(seed=0, acc=0.4), record(seed=1, acc=0.5), record(seed=2, acc=0.6)])
    number = row.numbers["test/acc_e"]
    assert (round(number.mean, 6), round(number.spread, 6), number.runs) == (50.0, 10.0, 3)
    assert str(number) == "50.0 ± 10.0"
    assert (row.runs, row.failed, row.clips, row.seconds) == (3, 0, 8, 3.0)


def test_a_single_run_has_no_spread():
    (row,) = gather([record()])
    assert str(row.numbers["test/acc_e"]) == "50.0"


def test_failed_runs_are_counted_and_not_averaged():
    (row,) = gather([record(seed=0, acc=0.4), record(seed=1, acc=None)])
    assert (row.runs, row.failed) == (1, 1) and row.numbers["test/acc_e"] == Number(40.0, None, 1)
    (row,) = gather([record(acc=None)])
    assert (row.runs, row.failed, row.numbers) == (0, 1, {})


def test_sample_and_real_never_stand_in_one_row():
    assert len(gather([record(data="real"), record(data="sample")])) == 2


def test_a_score_that_is_not_defined_is_none():
    (row,) = gather([record(notes={"a": 0.5}), record(seed=1, notes={})])
    assert row.notes["a"] == Number(50.0, None, 1)


def test_runs_of_the_paper_s_sizes_without_published_weights_have_a_row_of_their_own():
    scratch, loaded = record(preset="paper"), record(preset="paper", weights={"weights_video": "0" * 64})
    assert [row.scratch for row in gather([scratch, loaded], {scratch.key})] == [True, False]
    assert [row.scratch for row in gather([record()], {record().key})] == [False]  # quick is of its own sizes
