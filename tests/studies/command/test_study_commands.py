"""Studies and searches on the command line: plans, one-line errors and tables."""

import json
import re
import shutil

import pytest

from methods import METHODS
from reports.figures.style import FIGURE_FORMATS, write_figure
from reports.types import RenderedFigure
from studies.worker import run_worker
from tests.studies.command_line import bench, one_line

TOY = ("--method", "toy", "--dataset", "toy", "--set", "epochs=2", "--threads", "1")

MISTAKES = {
    "study": (["study", "ablatoin"], ["unknown study 'ablatoin'", "did you mean 'ablation'"]),
    "no study": (["study"], ["no name given", "ablation"]),
    "tuning": (["study", "ablation", "--tuning", "sharde"], ["unknown tuning", "did you mean 'shared'"]),
    "data set": (["study", "ablation", "--datasets", "ekman"], ["unknown data set 'ekman'", "'ekman6'"]),
    "shard": (["study", "ablation", "--shard", "3/2"], ["--shard", "'3/2'", "--shard 2/5"]),
    "sampler": ([*TOY, "--trials", "3", "--sampler", "tbe"], ["unknown sampler", "'tpe'"]),
    "pruner": ([*TOY, "--trials", "3", "--pruner", "medain"], ["unknown pruner", "'median'"]),
    "storage": ([*TOY, "--trials", "3", "--storage", "mongo://x"], ["--storage 'mongo://x'", "postgresql://"]),
    "launcher": ([*TOY, "--workers", "2", "--launcher", "slurm"], ["unknown launcher 'slurm'", "ray"]),
    "protocol": ([*TOY, "--protocol", "refitt"], ["unknown protocol", "'refit'"]),
    "on test": ([*TOY, "--trials", "3", "--protocol", "best-on-test"], ["a search cannot use the test split"]),
    "fresh": ([*TOY, "--trials", "3", "--fresh"], ["--fresh: not possible with --trials"]),
    "nothing to search": (
        ["--method", "majority", "--dataset", "toy", "--trials", "3"],
        ["majority: no free config field"],
    ),
    "searched field is set": ([*TOY, "--set", "lr=0.1", "--trials", "3"], ["toy: no free config field"]),
    "no database there": (
        [*TOY, "--trials", "3", "--storage", "postgresql://nobody@127.0.0.1:9/x"],
        ["cannot reach the database", "127.0.0.1:9"],
    ),
    "no search yet": (["ui", "--searches"], ["no search in", "--trials"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_next(results, name):
    words, parts = MISTAKES[name]
    assert one_line(bench(*words, results=results), *parts)


def test_a_search_goes_from_trials_to_a_table_that_says_what_was_tried(results, monkeypatch):
    out = results / "o.json"
    done = bench(*TOY, "--trials", "3", "--seeds", "2", "--json", out, results=results)
    assert done.code == 0, done.out + done.err
    assert "3 trials" in done.out and "gap" in done.out
    rows = json.loads(out.read_text())
    assert [row["tried"] for row in rows] == [3, 3] and done.out.count("tried: configurations") == 1
    assert [row["spec"]["seed"] for row in rows] == [0, 1]
    assert all(row["run_id"] and row["scores"]["test/acc_e"] is not None for row in rows)
    (summary,) = results.glob("searches/*/search.json")
    found = json.loads(summary.read_text())
    assert found["tried"] == {"finished": 3, "pruned": 0, "failed": 0}
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 3
    assert max(trial["value"] for trial in found["trials"]) == found["winner"]["value"]
    assert [set(trial["params"]) for trial in found["trials"]] == [{"lr"}] * 3 and found["version"] == 1
    assert 0 < found["trials"][0]["spent"] < found["trials"][1]["spent"] < found["trials"][2]["spent"]
    assert {path.name for path in summary.parent.glob("*.png")} >= {"history.png", "slices.png", "timeline.png"}
    again = bench(*TOY, "--trials", "3", "--seeds", "2", results=results)
    assert again.code == 0 and "2 runs, 2 done" in again.out
    _check_mlflow(results)
    _check_report(results, monkeypatch)


def _check_report(results, monkeypatch):
    """Check that a report marks the runs as tuned, and shows the search in its appendix and figure."""
    monkeypatch.setattr("reports.figures.style.write_figure", _draw_searches)
    done = bench("report", "--runs", "dataset=toy", results=results)
    assert done.code == 0, done.out + done.err
    out = results / "reports" / "runs"
    assert "at most 3 configurations): toy" in (out / "report.md").read_text()
    spaces = (out / "tables" / "search_spaces.md").read_text()
    assert "toy on Toy clips" in spaces and "0.001 to 1, log" in spaces
    assert len((out / "figures" / "searches.csv").read_text().splitlines()) == 1 + 3
    checked = bench("report", "--check", "--runs", "dataset=toy", results=results)
    assert checked.code == 0 and "every score was recomputed" in checked.out, checked.out + checked.err


def _draw_searches(picture, folder):
    """Draws the figure of searches, and leaves the others, which take long, blank."""
    if picture.name == "searches":
        return write_figure(picture, folder)
    for kind in FIGURE_FORMATS:
        (folder / f"{picture.name}.{kind}").touch()
    return RenderedFigure("image/png", b"")


def _check_mlflow(results):
    """Check for one parent run per search with its trials and final runs, all of them ended, the winner's tagged."""
    from bench.mlflow import MlflowStore

    client = MlflowStore(results).connect()
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    parents = [run for run in runs if run.data.tags.get("bench.parent")]
    assert len(parents) == 1 and {run.info.status for run in runs} == {"FINISHED"}
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(children) == 3 + 2 == len(runs) - 1
    assert sum(run.data.tags.get("bench.winner") == "true" for run in children) == 1
    kept = {file.path for file in client.list_artifacts(parents[0].info.run_id)}
    assert {"search.json", "history.png", "parallel.png", "slices.png", "timeline.png"} <= kept
    assert parents[0].data.metrics["tried/finished"] == 3


def test_a_dry_run_prints_the_plan_and_runs_nothing(results):
    done = bench(*TOY, "--trials", "5", "--seeds", "4", "--dry-run", results=results)
    assert done.code == 0 and "4 runs, 0 done" in done.out and "1 search of 5 trials" in done.out
    assert not list(results.glob("runs/*/record.json"))


def test_a_refit_and_a_choice_on_test_are_named_in_every_table(results):
    done = bench(*TOY, "--protocol", "refit", "--seeds", "2", results=results)
    assert done.code == 0 and "toy (refit on train + val)" in done.out, done.out + done.err
    assert "4 runs" in done.out
    flagged = bench(*TOY, "--protocol", "best-on-test", results=results)
    assert flagged.code == 0 and flagged.out.count("toy (EPOCH CHOSEN ON TEST)") == 2


def test_what_is_done_and_not_published_is_published_by_the_next_command(results, ready_mlflow):
    from bench.mlflow import MlflowStore

    shared = ("--seeds", "2", "--storage", f"sqlite:///{results / 'optuna.db'}")
    assert bench(*TOY, *shared, results=results).code == 0
    uri = f"sqlite:///{shutil.copy(ready_mlflow, results / 'other.db')}"
    again = bench(*TOY, *shared, "--tracking-uri", uri, results=results)
    assert again.code == 0 and "2 done" in again.out
    assert len(list(MlflowStore(results, uri).search_runs("tags.`bench.record` != ''"))) == 2


def test_runs_that_end_between_two_looks_at_the_workers_are_reported(results, monkeypatch):
    def work(request, resources, count, is_done):
        is_done()
        run_worker(request, resources)  # and ends before the next look

    monkeypatch.setattr("studies.launchers.run_worker_processes", work)
    done = bench(*TOY, "--seeds", "2", "--workers", "2", results=results)
    assert done.code == 0 and re.findall(r"^toy on toy seed (\d): done$", done.out, re.MULTILINE) == ["0", "1"]


def test_list_shows_every_config_field_with_its_values_bounds_range_and_meaning(tmp_path):
    done = bench("list", "fields", results=tmp_path)
    rows = [re.split(r" {2,}", line.strip()) for line in done.out.splitlines()]
    names = [name for method in METHODS.values() for name in method.config.model_fields]
    assert done.code == 0 and set(names) <= {row[0] for row in rows}
    lr = ["lr", "0.0002", "0.002", "> 0; searched: 1e-05 to 0.003, log scale", "peak learning rate of fine-tuning"]
    assert lr in rows
    assert ["recompute", "false", "false"] in [row[:3] for row in rows]
    assert any(row[:4] == ["optimizer", "adamw", "adamw", "adamw, adam"] for row in rows)


def test_list_names_the_studies_with_their_questions(tmp_path):
    done = bench("list", "studies", results=tmp_path)
    assert done.code == 0 and "ablation" in done.out and "?" in done.out
