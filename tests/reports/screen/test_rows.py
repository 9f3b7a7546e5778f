import pytest

from bench.tasks import ACCURACY
from reports.runs import Mean
from reports.terminal import average_notes, format_column, group_by_dataset, group_runs
from tests.reports.screen.records import run


def shown(*runs):
    """Return row label -> Acc E and number of runs, of the single data set."""
    (frame,) = group_by_dataset(runs)
    pools = group_runs(frame)
    found = format_column(pools, lambda run: run.get_score(ACCURACY))
    return {label: (text, len(pool.runs)) for label, text, pool in zip(frame.labels, found, pools, strict=True)}


def test_a_line_is_the_mean_and_the_spread_over_seeds_in_percent():
    assert shown(*(run(seed=seed, acc=acc) for seed, acc in enumerate((0.44, 0.5, 0.56)))) == {"mbt": ("50.0 ± 6.0", 3)}


def test_a_column_shares_its_decimals():
    runs = [run(seed=0, acc=0.4), run(seed=1, acc=0.7), run("mart", acc=0.5125), run("majority", acc=None)]
    assert shown(*runs) == {"mbt": ("55 ± 21", 2), "mart": ("51", 1), "majority": ("-", 0)}


def test_failed_runs_are_counted_and_not_averaged():
    assert shown(run(seed=0, acc=0.4), run(seed=1, acc=None)) == {"mbt": ("40", 1)}
    assert shown(run(acc=None)) == {"mbt": ("-", 0)}


def test_sample_and_real_are_never_in_one_table():
    assert [frame.is_sample for frame in group_by_dataset([run(data="real"), run(data="sample")])] == [False, True]


def test_a_note_is_averaged_over_the_runs_that_have_it():
    (frame,) = group_by_dataset([run(notes={"a": 0.5}), run(seed=1, notes={})])
    (row,) = average_notes(frame)
    assert row.notes == {"a": Mean(50.0, None, (50.0,), (frame.runs[0].record.key,))}


def test_runs_of_the_paper_s_sizes_without_published_weights_have_a_line_of_their_own():
    fields = {"weights_video": "", "weights_audio": ""}
    scratch = run(preset="paper", config=fields)
    loaded = run(preset="paper", config={**fields, "weights_video": "file"}, weights={"weights_video": "0" * 64})
    knows_none = run("majority", preset="paper")
    assert list(shown(scratch, loaded, knows_none)) == ["mbt (from scratch)", "mbt", "majority"]
    assert list(shown(run(config=fields))) == ["mbt"]  # quick is of its own sizes


@pytest.mark.parametrize("other", [{"preset": "paper"}, {"protocol": "refit"}, {"protocol": "best-on-test"}])
def test_runs_of_two_presets_or_protocols_are_never_averaged(other):
    found = shown(run(acc=0.4), run(acc=0.6, **other))
    assert [count for _, count in found.values()] == [1, 1] and len(found) == 2
