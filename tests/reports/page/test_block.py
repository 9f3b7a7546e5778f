"""Tests that the data in a page equal the files of its runs, are small, and are escaped."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas
import pytest
from scipy.special import softmax

from bench.artifacts import PREDICTIONS_FILE, read_curves
from reports.formats import split_marks
from reports.page import MAX_CURVE_POINTS, join_scripts, make_page_data, render_page, render_page_marked
from reports.types import RenderedFigure
from tests.reports.page.made import HOSTILE_TEXTS, card, many, named, report, run
from tests.reports.tables.by_hand import AFFECT, by_hand

PICTURE = {"curve": RenderedFigure("image/png", b"png")}


class Tags(HTMLParser):
    """Parser of a page's tags with names of attributes, its text, and all its addresses."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.addresses, self.text = [], [], ""
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, [name for name, _ in attrs]))
        self.addresses += [value for name, value in attrs if name in ("href", "src", "action", "formaction")]

    def handle_data(self, data):
        self.text += data


def unpack(text):
    return gzip.decompress(base64.b64decode(text)).decode()


def held(runs, **more):
    data = json.loads(unpack(make_page_data(report(runs, **more))))
    for name, column in data["columns"].items():
        for stored, value in zip(data["runs"], column, strict=True):
            stored[name] = value
    return data


@pytest.mark.parametrize("classes", [3, 70])
def test_predictions_of_any_number_of_classes_come_back(tmp_path, classes):
    facts = card(classes=tuple(f"kind {at}" for at in range(classes)))
    one = run(tmp_path, facts, "mart", 0, clips=2 * classes)
    data = held([one])
    described = data["runs"][0]
    listed, stored = (
        data["lists"][described["clips"]],
        pandas.read_parquet(one.folder / PREDICTIONS_FILE).query("split == 'test'"),
    )
    assert listed["classes"] == list(facts.classes) and listed["keys"] == stored["clip"].tolist()
    assert "hidden/val" not in listed["keys"]
    assert listed["labels"] == [at % classes for at in range(2 * classes)]
    assert (
        [listed["classes"][at] for at in described["predicted"]]
        == stored["predicted"].tolist()
        != stored["label"].tolist()
    )
    sure = softmax(stored[[f"score/{name}" for name in facts.classes]].to_numpy(np.float64), axis=1).max(axis=1)
    np.testing.assert_allclose(np.array(described["sure"]) / 1000, sure, atol=0.00051)


def test_predicted_numbers_come_back_with_the_metrics_of_their_run(tmp_path):
    runs = [by_hand(tmp_path, arm, seed, card=AFFECT) for arm in ("mbt", "mart") for seed in (0, 1)]
    data = held([*runs, by_hand(tmp_path, "mart")])
    assert {described["clips"] for described in data["runs"][:4]} == {0} and data["runs"][4]["clips"] == 1
    listed = data["lists"][0]
    assert (listed["classes"], listed["targets"]) == ([], ["valence", "arousal"])
    for one, described in zip(runs, data["runs"], strict=False):
        stored = pandas.read_parquet(one.folder / PREDICTIONS_FILE).query("split == 'test'")
        assert listed["keys"] == stored["clip"].tolist() and described["sure"] == []
        for kind, numbers in (("target", listed["labels"]), ("score", described["predicted"])):
            columns = stored[[f"{kind}/valence", f"{kind}/arousal"]].to_numpy(float)
            np.testing.assert_allclose(np.array(numbers), columns, rtol=1e-5)
        assert described["shown"] == ["ccc", "mae", "corr", "ccc/valence", "ccc/arousal"]
    metrics = {metric["name"]: metric for metric in data["metrics"]}
    assert metrics["mae"] == {"name": "mae", "title": "MAE", "percent": False, "lower": True}
    assert metrics["mae/valence"] == {"name": "mae/valence", "title": "MAE valence", "percent": False, "lower": True}
    assert metrics["recall/joy"] == {"name": "recall/joy", "title": "recall joy", "percent": True, "lower": False}
    assert metrics["loss"]["lower"] and metrics["acc_e"]["title"] == "Acc E" and not metrics["n"]["percent"]
    scored = {name.partition("/")[2] for one in runs for name in one.record.scores}
    assert scored <= metrics.keys() and len(metrics) == len(data["metrics"])


def test_the_script_has_less_than_500_lines():
    assert len(join_scripts().splitlines()) <= 505  # 499 of the files, and those that join them


def test_runs_on_the_same_clips_share_their_list(tmp_path):
    data = held(many(tmp_path, ("mart", "mbt"), ("ekman6", "perr"), 2, 6))
    assert len(data["lists"]) == 1 and {run["clips"] for run in data["runs"]} == {0}


def test_a_curve_keeps_its_ends_its_chosen_epoch_and_its_values_and_few_points(tmp_path):
    one = run(tmp_path, card(), "mart", 0, epochs=1000)
    stored = {(stage, epoch): values for stage, epoch, values in read_curves(one.folder)}
    described = held([one])["runs"][0]
    assert len(described["curves"]) == 9
    for (stage, name), epochs, values in zip(
        described["curves"], described["epochs"], described["values"], strict=True
    ):
        assert epochs[0] == 0 and epochs[-1] == 999 and MAX_CURVE_POINTS <= len(epochs) <= MAX_CURVE_POINTS + 1
        assert 11 in epochs or not name.startswith("val/")
        np.testing.assert_allclose(values, [stored[stage, epoch][name] for epoch in epochs], rtol=6e-4)


@pytest.mark.parametrize("content", [None, b"", b"[{}]", b"not even json"])
def test_missing_or_broken_files_are_reported(tmp_path, content):
    one = run(tmp_path, card(), "mart", 0)
    for name in ("curves.json", "predictions.parquet"):
        (one.folder / name).unlink()
        if content is not None:
            (one.folder / name).write_bytes(content)
    (described,) = held([one])["runs"]
    message = "is not on this machine" if content is None else "cannot be read"
    assert message in described["curves"] and message in described["clips"]


def test_a_record_file_is_named_by_its_sha_and_one_that_is_elsewhere_is_not(tmp_path):
    one, failed = run(tmp_path, card(), "mart", 0), run(tmp_path, card(), "mart", 1, failed="broke")
    expected = [hashlib.sha256((found.folder / name).read_bytes()).hexdigest()
                for found, name in ((one, "record.json"), (failed, "failed-1.json"))]  # fmt: skip
    assert [described["prints"]["record file"] for described in held([one, failed])["runs"]] == [
        f"sha256 {sha}" for sha in expected
    ]
    (one.folder / "record.json").unlink()
    assert held([one])["runs"][0]["prints"]["record file"] == "not on this machine"


def test_a_config_comes_back(tmp_path):
    runs = many(tmp_path, ("mart", "mbt"), ("ekman6",), 3, 6)
    assert [described["config"] for described in held(runs)["runs"]] == [one.record.spec.config for one in runs]


def test_the_same_runs_give_the_same_bytes(tmp_path):
    found = report(many(tmp_path, ("mart", "mbt"), ("ekman6",), 2, 6))
    assert render_page(found, PICTURE) == render_page(found, PICTURE)


def test_a_finished_run_has_the_key_before_a_failed_one(tmp_path):
    one = run(tmp_path, card(), "mart", 0)
    failed = run(tmp_path, card(), "mart", 0, failed="broke")
    found = held([failed, one])["runs"]
    key = one.record.key
    assert [(described["id"], described["error"] is None) for described in found] == [(key, True), (f"{key}~2", False)]


@pytest.mark.parametrize("address", ["javascript:alert(1)//", "file:///etc", "", "data:text/html,x"])
def test_only_web_addresses_become_links(tmp_path, address):
    one = run(tmp_path, card(), "mart", 0)
    assert held([one], tracking_url=address)["runs"][0]["link"] is None
    linked = held([replace(one, mlflow_run_id="a/\ud800?#")], tracking_url="https://mlflow.lab/")["runs"][0]["link"]
    assert linked == "https://mlflow.lab/#/experiments/3/runs/a%2F%5Cud800%3F%23"


def test_a_run_that_is_not_published_has_no_link(tmp_path):
    assert held([replace(run(tmp_path, card(), "mart", 0), mlflow_run_id=None)])["runs"][0]["link"] is None


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_no_text_can_end_the_data_and_all_of_it_is_printable(tmp_path, text):
    facts = card(classes=(text, "joy"), title=text)
    one = run(tmp_path, facts, text, 0, name=text + "\u2028\x00")
    packed = make_page_data(report([replace(one, arm=text + "\ud800")]))
    assert re.fullmatch(r"[A-Za-z0-9+/]+=*", packed)
    assert not set("\u2028\u2029\u202e\ud800\x00") & set(unpack(packed))
    assert json.loads(unpack(packed))["runs"][0]["facts"]["arm"] == text.replace("\u202e", "\\u202e") + "\\ud800"


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_no_name_becomes_a_tag_an_attribute_or_a_part_of_a_template(tmp_path, text):
    def tags(name):
        return Tags(render_page(named(tmp_path / "runs", name), PICTURE))

    hostile = tags(text)
    shown = text.replace("\u202e", "\\u202e")
    assert hostile.tags == tags("p" * len(shown)).tags
    assert hostile.text.count(shown) > 10 and "\u202e" not in hostile.text
    assert not any(value.startswith("javascript:") for value in hostile.addresses)


def test_cells_of_the_page_are_between_marks(tmp_path):
    found = report([run(tmp_path, card(), "mart", 0)])
    text, spans = split_marks(render_page_marked(found, PICTURE))
    assert text == render_page(found, PICTURE) and "\x02" not in text
    marked = {span.name: text[span.start : span.end] for span in spans}
    (table,) = found.sections[0].tables
    for name, cell in table.iter_cells():
        assert f'data-cell="{name}"' in marked[name] and cell.text in marked[name]


def test_numbers_that_are_none_do_not_break_the_page(tmp_path):
    one = run(tmp_path, card(), "mart", 0)
    record = replace(one.record, notes={"odd": float("nan")}, scores={"test/acc_e": None, "val/acc_e": float("inf")})
    (described,) = held([replace(one, record=record)])["runs"]
    assert described["scores"] == {"test/acc_e": None, "val/acc_e": None} and described["notes"] == {"odd": None}


def test_the_rules_name_the_one_script_by_its_hash(tmp_path):
    content = render_page(report([run(tmp_path, card(), "mart", 0)]), PICTURE)
    (code,) = re.findall(r"<script>(.*?)</script>", content, re.S)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in content and "default-src 'none'" in content
    assert "unsafe-eval" not in content and "innerHTML" not in content and "insertAdjacentHTML" not in content


def test_the_sample_is_marked_at_the_top_and_in_every_section(tmp_path):
    runs = [run(tmp_path, card(), "mart", 0)]
    content = render_page(report(runs, is_sample=True), PICTURE).split("<script")[0]
    assert content.count("BUILT-IN SAMPLE") == 2 + content.count("<section")
    assert "BUILT-IN SAMPLE" not in render_page(report(runs), PICTURE).split("<script")[0]
