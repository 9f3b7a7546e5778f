"""Terminal tables of runs that predict numbers: units, dropped columns, gaps and changes."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from rich.console import Console

from bench.tasks import Regression, TargetRange
from reports.terminal import make_gap_table, make_optimism_table, render_records
from tests.reports.tables.by_hand import AFFECT, MOOD, by_hand

LONG = replace(
    AFFECT, task=Regression(tuple(TargetRange(f"[b]target number {place}[/b]", -1, 1) for place in range(9)))
)


def render(table, width=80):
    console = Console(width=width, record=True)
    console.print(table, crop=False)
    return console.export_text()


def runs(*cards, protocol="clean", skills=(("majority", 0.0), ("mbt", 0.6), ("mart", 0.8)), **told):
    return [
        by_hand(None, arm, seed, card=card, skill=skill, files=False, spec={"protocol": protocol}, **told)
        for card in cards
        for arm, skill in skills
        for seed in range(3)
    ]


def test_scores_are_printed_in_their_units_and_the_first_ones_stay_at_80_columns():
    text = render(render_records(runs(MOOD)))
    assert max(map(len, text.splitlines())) <= 80 and "recall" not in text
    assert "test split, Acc and F1 in percent, preset quick" in text
    heads = next(line for line in text.splitlines() if "method" in line)
    assert [word.strip() for word in heads.strip("┃").split("┃")] == ["method", "MAE", "val MAE", "Corr", "tried"]
    assert re.search(r"not shown at 80 columns: .*Acc-2 has 0", " ".join(text.split()))
    mean = sum(run.record.scores["test/mae"] for run in runs(MOOD) if run.arm == "mart") / 3
    (row,) = [line for line in text.splitlines() if "mart" in line]
    assert f"{mean:.2f}" in row


def test_several_targets_have_no_unit_and_a_column_each_where_there_is_room():
    text = render(render_records(runs(AFFECT)), 140)
    assert "test split, preset quick" in text and "CCC valence" in text and "CCC arousal" in text
    assert "percent" not in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_names_of_targets_are_text_and_never_broken(width):
    text = render(render_records(runs(LONG)), width)
    assert max(map(len, text.splitlines())) <= width
    assert "CCC [b]target number 8[/b]" in " ".join(text.split())


def test_the_gap_is_in_the_unit_of_each_data_set():
    found = runs(MOOD, AFFECT)
    text = render(make_gap_table(found), 120)
    assert "val against test: MAE or CCC" in text and "percent" not in text
    for card, name in ((MOOD, "mae"), (AFFECT, "ccc")):
        scores = [run.record.scores for run in found if run.arm == "mart" and run.info == card]
        gap = sum(one[f"val/{name}"] - one[f"test/{name}"] for one in scores) / 3
        (row,) = [line for line in text.splitlines() if card.name in line and "mart" in line]
        assert f"{'+' if gap > 0 else '−'}{abs(gap):.2f}" in row


def test_a_lower_error_is_no_gain_but_a_change():
    best = (("mart", 0.9),)
    text = render(make_optimism_table([*runs(MOOD), *runs(MOOD, protocol="best-on-test", skills=best)]), 120)
    assert "change by selecting" in text and "change and 95 % interval" in text and "−0." in text and "gain" not in text
    text = render(make_optimism_table([*runs(AFFECT), *runs(AFFECT, protocol="best-on-test", skills=best)]), 120)
    assert "gain from selecting" in text and "+0." in text
