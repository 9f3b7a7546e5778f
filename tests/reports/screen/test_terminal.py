from rich.console import Console

from reports.terminal import render_records
from tests.reports.screen.records import run


def shown(*runs):
    console = Console(width=140)
    with console.capture() as captured:
        console.print(render_records(runs))
    return captured.get()


def test_scores_classes_and_failures_are_shown():
    text = shown(run(acc=0.45), run(seed=1, acc=0.55), run("mart", acc=None))
    for part in ("Toy clips", "50.0 ± 7.1", "recall by class", "low", "0 (1 failed)", "3.00"):
        assert part in text
    assert "SAMPLE" not in text


def test_a_table_of_the_sample_is_marked_and_real_data_are_in_another():
    text = shown(run(data="sample"), run())
    assert text.count("BUILT-IN SAMPLE, not the real data") == 1 and text.count("test split") == 2


def test_the_score_on_val_is_shown_where_the_protocol_has_one():
    text = shown(run(val=0.75), run(acc=0.6, protocol="refit"), run("mart", protocol="best-on-test", tried=7))
    heads, *rows = [line for line in text.partition("recall by class")[0].splitlines() if line.startswith(("┃", "│"))]
    place = [head.strip() for head in heads.split("┃")].index("val Acc E")
    cells = {row.split("│")[1].strip(): row.split("│")[place].strip() for row in rows}
    assert cells == {"mbt": "75", "mbt (refit on train + val)": "-", "mart (EPOCH CHOSEN ON TEST)": "-"}


def test_few_cues_are_flagged():
    words = {"pretrain/coverage": 0.5, "pretrain/coverage_kept": 0.09}
    assert "mart (!)" in shown(run("mart", notes=words))
    assert "(!)" not in shown(run("mart", notes={**words, "pretrain/coverage_kept": 0.11}))
    assert "cue" not in shown(run())


def test_verification_is_shown_next_to_the_random_dropper():
    shown_text = {f"pretrain/verify/val/degree/{name}": 0.25 for name in ("precision", "recall", "random_precision")}
    text = shown(run("mart", notes=shown_text))
    assert "E3 degree" in text and text.count("25.0") == 3 and text.count("random") == 3


def test_the_paper_s_sizes_from_scratch_are_marked():
    assert "mbt (from scratch)" in shown(run(preset="paper", config={"weights_video": ""}))
    assert "from scratch" not in shown(run(config={"weights_video": ""}))


def test_a_protocol_is_shown_next_to_the_name_in_every_table():
    shown_text = shown(run(), run(acc=0.6, protocol="best-on-test"), run(acc=0.7, protocol="refit"))
    assert shown_text.count("mbt (EPOCH CHOSEN ON TEST)") == 2 and shown_text.count("mbt (refit on train + val)") == 2
