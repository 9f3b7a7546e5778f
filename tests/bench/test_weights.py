from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import ConfigError
from bench.execute import RunEnvironment, RunRequest, execute
from bench.mlflow import MlflowStore
from tests.toys import TOY, TOY_DATA, ToyConfig


class WeightsConfig(ToyConfig):
    weights_video: str = ""
    weights_text: str = ""

    def get_files(self):
        return {name: Path(getattr(self, name)) for name in ("weights_video", "weights_text") if getattr(self, name)}


@pytest.fixture
def environment(results, quiet):
    return RunEnvironment(results, MlflowStore(results), quiet, lambda *_: [], keep_weights=False)


def make_request(preset="quick", **values):
    return RunRequest(
        "toy", TOY, WeightsConfig(epochs=1, **{name: str(value) for name, value in values.items()}), preset, TOY_DATA, 0
    )


def folder(path, **texts):
    path.mkdir()
    for name, text in texts.items():
        (path / name).write_text(text)
    return path


def test_weights_count_by_their_content_a_folder_by_that_of_its_files(environment, tmp_path):
    for name, text in (("a.pth", "same"), ("b.pth", "same"), ("c.pth", "other")):
        (tmp_path / name).write_text(text)
    keys = [
        execute(make_request(weights_video=tmp_path / name), environment).record.key
        for name in ("a.pth", "b.pth", "c.pth")
    ]
    assert keys[0] == keys[1] != keys[2]
    folders = [
        folder(tmp_path / "one", vocab="v", model="m"),
        folder(tmp_path / "two", vocab="v", model="m"),
        folder(tmp_path / "three", vocab="m", model="v"),
    ]
    records = [execute(make_request(weights_text=path), environment).record for path in folders]
    assert records[0].key == records[1].key != records[2].key
    assert set(records[0].spec.weights) == {"weights_text"} and str(tmp_path) not in records[0].to_json()


def test_a_file_that_is_not_there_is_one_line(environment):
    with pytest.raises(ConfigError, match=r"weights_video: no such file or folder: 'nowhere\.pth'") as caught:
        execute(make_request(weights_video="nowhere.pth"), environment)
    assert "\n" not in str(caught.value)


def test_the_paper_preset_reports_a_start_from_scratch(environment, tmp_path, quiet):
    (tmp_path / "a.pth").write_text("weights")
    starts = replace(TOY, encoder_weights=("weights_video",))
    execute(replace(make_request("paper", weights_video=tmp_path / "a.pth"), method=starts), environment)
    execute(make_request("paper"), environment)  # a method without pretrained encoders
    assert quiet.notices == []
    texts = make_request("paper", weights_text=tmp_path / "a.pth")  # text weights are not those of an encoder
    execute(replace(texts, method=starts), environment)
    assert [notice.split(";")[0] for notice in quiet.notices] == ["trained from scratch, without published weights"]
