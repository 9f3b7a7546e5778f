from rich.console import Console

from reports.screen.terminal import show
from tests.reports.screen.records import record


def shown(*records, from_scratch=()):
    console = Console(width=140)
    with console.capture() as captured:
        console.print(show(records, {"toy": "Toy clips"}, from_scratch))
    return captured.get()


def test_scores_classes_and_failures_are_shown():
    text = shown(record(acc=0.25), record(seed=1, acc=0.75), record("mart", acc=None))
    for part in ("Toy clips", "50.0 ± 35.4", "recall by class", "low", "0 (1 failed)"):
        assert part in text
    assert "SAMPLE" not in text


def test_a_table_of_the_sample_says_so_above_and_real_data_stand_apart():
    text = shown(record(data="sample"), record())
    assert text.count("BUILT-IN SAMPLE, not the real data") == 1 and text.count("test split") == 2


def test_few_cues_are_flagged():
    words = {"pretrain/coverage": 0.5, "pretrain/coverage_kept": 0.09}
    assert "mart (!)" in shown(record("mart", notes=words))
    assert "(!)" not in shown(record("mart", notes={**words, "pretrain/coverage_kept": 0.11}))
    assert "cue" not in shown(record())


def test_verification_stands_beside_the_random_dropper():
    told = {f"pretrain/verify/val/degree/{name}": 0.25 for name in ("precision", "recall", "random_precision")}
    text = shown(record("mart", notes=told))
    assert "E3 degree" in text and text.count("25.0") == 3 and text.count("random") == 3


def test_the_paper_s_sizes_from_scratch_are_marked():
    paper = record(preset="paper")
    assert "mbt (from scratch)" in shown(paper, from_scratch={paper.key})
    assert "from scratch" not in shown(paper)
