"""What a page holds of its runs is what their files say, small, and harmless whatever they are called."""

import base64
import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pandas
import pytest
from scipy.special import softmax

from bench.artifacts import PREDICTIONS_FILE
from reports.page import (
    BASE64_DIGITS,
    MAX_CURVE_POINTS,
    RenderedFigure,
    count_digits,
    encode_numbers,
    make_page_data,
    read_curves,
    render_page,
)
from tests.reports.page.made import HOSTILE, card, many, report, run

PICTURE = {"curve": RenderedFigure("image/png", b"png")}


def unpack(text, width):
    places = [text[at : at + width] for at in range(0, len(text), width)]
    return [
        sum(BASE64_DIGITS.index(sign) * 64**power for power, sign in enumerate(reversed(place))) for place in places
    ]


def held(runs, **more):
    return json.loads(make_page_data(report(runs, **more)))


@pytest.mark.parametrize("width, values", [(1, [0, 1, 63]), (2, [0, 64, 1000, 4095]), (3, [262143, 5])])
def test_packed_numbers_come_back(width, values):
    assert unpack(encode_numbers(np.array(values), width), width) == values
    assert count_digits(max(values) + 1) == width


@pytest.mark.parametrize("classes", [3, 70])
def test_predictions_of_any_number_of_classes_come_back(tmp_path, classes):
    facts = card(classes=tuple(f"kind {at}" for at in range(classes)))
    one = run(tmp_path, facts, "mart", 0, clips=2 * classes)
    data = held([one])
    place, predicted, probability = data["runs"][0]["clips"]
    listed, stored = data["shared"][place], pandas.read_parquet(one.folder / PREDICTIONS_FILE).query("split == 'test'")
    assert listed["classes"] == list(facts.classes) and listed["keys"] == stored["clip"].tolist()
    assert "hidden/val" not in listed["keys"]
    assert unpack(listed["label"], listed["width"]) == [at % classes for at in range(2 * classes)]
    named = [listed["classes"][at] for at in unpack(predicted, listed["width"])]
    assert named == stored["predicted"].tolist() != stored["label"].tolist()
    sure = softmax(stored[[f"score/{name}" for name in facts.classes]].to_numpy(np.float64), axis=1).max(axis=1)
    np.testing.assert_allclose(np.array(unpack(probability, 2)) / 1000, sure, atol=0.00051)


def test_a_curve_keeps_its_ends_its_chosen_epoch_and_its_values_and_few_points(tmp_path):
    one = run(tmp_path, card(), "mart", 0, epochs=1000)
    data, curves = held([one]), {(found.stage, found.name): found for found in read_curves(one.folder)}
    assert len(data["runs"][0]["curves"]) == len(curves) == 9
    for place, axis, low, high, packed in data["runs"][0]["curves"]:
        whole, epochs = curves[tuple(data["shared"][place])], data["shared"][axis]
        assert epochs[0] == 0 and epochs[-1] == 999 and MAX_CURVE_POINTS <= len(epochs) <= MAX_CURVE_POINTS + 1
        assert 11 in epochs or not whole.name.startswith("val/")
        values = low + (high - low) * np.array(unpack(packed, 2)) / 4095
        np.testing.assert_allclose(values, whole.values[epochs], atol=2e-4 * (high - low) + 1e-4 * abs(high))


@pytest.mark.parametrize("content", [None, b"", b"[{}]", b"not even json"])
def test_files_that_are_absent_or_broken_are_told(tmp_path, content):
    one = run(tmp_path, card(), "mart", 0)
    for name in ("curves.json", "predictions.parquet"):
        (one.folder / name).unlink()
        if content is not None:
            (one.folder / name).write_bytes(content)
    (told,) = held([one])["runs"]
    said = "is not on this machine" if content is None else "cannot be read"
    assert said in told["curves"] and said in told["clips"]


def test_a_record_file_is_named_by_its_sha_and_one_that_is_elsewhere_is_not(tmp_path):
    one, failed = run(tmp_path, card(), "mart", 0), run(tmp_path, card(), "mart", 1, failed="broke")
    expected = [hashlib.sha256((found.folder / name).read_bytes()).hexdigest()
                for found, name in ((one, "record.json"), (failed, "failed-1.json"))]  # fmt: skip
    assert [told["sha"] for told in held([one, failed])["runs"]] == expected
    (one.folder / "record.json").unlink()
    assert held([one])["runs"][0]["sha"] is None


def test_a_config_comes_back_from_what_sets_it_apart(tmp_path):
    runs = many(tmp_path, ("mart", "mbt"), ("ekman6",), 3, 6)
    data = held(runs)
    for told, one in zip(data["runs"], runs, strict=True):
        base, changed, gone = told["config"]
        assert gone == [] and {**data["shared"][base], **changed} == one.record.spec.config


def test_a_finished_run_answers_for_a_key_before_a_failed_one(tmp_path):
    one = run(tmp_path, card(), "mart", 0)
    failed = run(tmp_path, card(), "mart", 0, failed="broke")
    found = held([failed, one])["runs"]
    key = one.record.key
    assert [(told["id"], told["error"] is None) for told in found] == [(key, True), (f"{key}~2", False)]


@pytest.mark.parametrize("address", ["javascript:alert(1)//", "file:///etc", "", "data:text/html,x"])
def test_only_web_addresses_become_links(tmp_path, address):
    one = run(tmp_path, card(), "mart", 0)
    assert held([one], tracking_url=address)["tracking"] is None
    assert held([one], tracking_url="https://mlflow.lab/")["tracking"] == "https://mlflow.lab"


def test_a_run_that_is_not_published_has_no_link(tmp_path):
    assert held([replace(run(tmp_path, card(), "mart", 0), mlflow_run_id=None)])["runs"][0]["mlflow"] is None


def test_no_text_can_end_the_block_of_data(tmp_path):
    facts = card(classes=(HOSTILE, "joy"), title=HOSTILE)
    one = run(tmp_path, facts, HOSTILE, 0, name=HOSTILE + "\u2028\x00")
    text = make_page_data(report([replace(one, arm=HOSTILE + "\ud800")]))
    assert not set("<>&\u2028\u2029\u202e\ud800\x00") & set(text)
    assert json.loads(text)["runs"][0]["arm"] == HOSTILE.replace("\u202e", "\\u202e") + "\\ud800"


def test_numbers_that_are_none_do_not_break_the_page(tmp_path):
    one = run(tmp_path, card(), "mart", 0)
    record = replace(one.record, notes={"odd": float("nan")}, scores={"test/acc_e": None, "val/acc_e": float("inf")})
    (told,) = held([replace(one, record=record)])["runs"]
    assert told["scores"][1] == [None, None] and told["notes"][1] == [None]


def test_the_rules_name_the_one_script_by_its_hash(tmp_path):
    content = render_page(report([run(tmp_path, card(), "mart", 0)]), PICTURE)
    (code,) = re.findall(r"<script>(.*?)</script>", content, re.S)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in content and "default-src 'none'" in content
    assert "unsafe-eval" not in content and "innerHTML" not in content and "insertAdjacentHTML" not in content


def test_the_sample_is_called_so_at_the_top_and_over_every_section(tmp_path):
    runs = [run(tmp_path, card(), "mart", 0)]
    content = render_page(report(runs, is_sample=True), PICTURE).split("<script")[0]
    assert content.count("BUILT-IN SAMPLE") == 2 + content.count("<section")
    assert "BUILT-IN SAMPLE" not in render_page(report(runs), PICTURE).split("<script")[0]
