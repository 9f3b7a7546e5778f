"""The prepared store: nothing done twice, nothing half done, and what is read is what was decoded."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bench.data import Clip, Files
from datasets.ekman6 import CARD
from datasets.layout import index_tree
from datasets.prepared import Form, prepare, read_facts
from tests.conftest import ROOT
from tests.datasets.trees import brightness, write_frames, write_media, write_mp3, write_srt, write_tree

FORM = Form.of(16, 24)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("tree"), CARD, 2, 1, seconds=0.2)


def silent(what, done, total):
    pass


def contents(found):
    return [(item.clip.key, item.content, item.path is not None, item.problems) for item in found]


def test_preparing_again_does_nothing_and_says_the_same(tree, tmp_path):
    _, clips, _ = index_tree(tree, CARD)
    told = []
    first = prepare(clips, FORM, tmp_path, lambda *args: told.append(args))
    assert told[-1] == ("prepare", 18, 18) and all(item.path for item in first)
    stamps = {item.path: item.path.stat().st_mtime_ns for item in first}
    again = prepare(clips, FORM, tmp_path, lambda *args: pytest.fail("worked again"))
    assert contents(again) == contents(first)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_a_clip_that_changes_is_prepared_anew_and_the_others_are_not(tree, tmp_path):
    _, clips, _ = index_tree(tree, CARD)
    before = prepare(clips, FORM, tmp_path, silent)
    source = clips[0].files.transcript
    kept = source.read_bytes()
    try:
        write_srt(source, "quite another word")
        told = []
        after = prepare(clips, FORM, tmp_path, lambda *args: told.append(args))
    finally:
        source.write_bytes(kept)
    assert told[-1] == ("prepare", 1, 1)
    assert before[0].content != after[0].content and before[0].path != after[0].path
    assert contents(before)[1:] == contents(after)[1:]


def test_another_form_lies_elsewhere(tree, tmp_path):
    _, clips, _ = index_tree(tree, CARD)
    small = prepare(clips[:1], FORM, tmp_path, silent)[0].path
    large = prepare(clips[:1], Form.of(32, 24), tmp_path, silent)[0].path
    assert small.parent != large.parent and small.name == large.name


def test_media_that_cannot_be_read_are_told_each_time_and_the_others_are_there(tmp_path):
    good = write_media(tmp_path / "good.avi", 0.2, rate=16000)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mkv").write_text("no video")
    clips = [
        Clip(f"joy/{path.stem}", 3, "train", path.stem, Files(video=path))
        for path in (good, tmp_path / "empty.mp4", tmp_path / "text.mkv")
    ]
    for _ in range(2):
        found = prepare(clips, FORM, tmp_path / "out", silent)
        assert [item.path is not None for item in found] == [True, False, False]
        assert [[(p.what, p.where) for p in item.problems] for item in found] == [
            [],
            [("unreadable", "joy/empty")],
            [("unreadable", "joy/text")],
        ]
        assert "0 bytes" in found[1].problems[0].why


def test_a_clip_with_one_modality_is_used_and_told(tmp_path):
    mute = Clip("joy/mute", 3, "train", "mute", Files(frames=write_frames(tmp_path / "mute", 0.2)))
    blind = Clip("joy/blind", 3, "train", "blind", Files(audio=write_mp3(tmp_path / "blind.mp3", 0.2)))
    found = prepare([mute, blind], FORM, tmp_path / "out", silent)
    assert [[p.what for p in item.problems] for item in found] == [["no sound"], ["no picture"]]
    assert [read_facts(item.path)["frames"] for item in found] == [6, 0]


def test_broken_sound_beside_a_good_picture_costs_the_sound_alone(tmp_path):
    (tmp_path / "bad.mp3").write_text("no sound")
    files = Files(frames=write_frames(tmp_path / "c", 0.2), audio=tmp_path / "bad.mp3")
    (found,) = prepare([Clip("joy/c", 3, "train", "c", files)], FORM, tmp_path / "out", silent)
    assert found.path and [p.what for p in found.problems] == ["sound", "no sound"]


def test_what_is_packed_is_what_was_drawn(tmp_path):
    from safetensors import safe_open

    from datasets.media import unpack

    files = Files(frames=write_frames(tmp_path / "c", 1.0), transcript=write_srt(tmp_path / "c.srt", "what joy"))
    (found,) = prepare([Clip("joy/c", 3, "train", "c", files)], FORM, tmp_path / "out", silent)
    with safe_open(found.path, framework="numpy") as file:
        offsets, jpegs, index = (file.get_tensor(name) for name in ("offsets", "jpegs", "index"))
    for place in (0, 13, 29):
        frame = index[place]
        grey = unpack(jpegs[offsets[frame] : offsets[frame + 1]].tobytes()).astype(float).mean()
        assert abs(grey - brightness(place / 30)) < 5
    assert [row[0] for row in read_facts(found.path)["words"]] == ["what", "joy"] and np.all(np.diff(index) == 1)


@pytest.mark.slow
def test_preparing_that_is_killed_goes_on_and_leaves_no_half_file(tmp_path):
    tree = write_tree(tmp_path / "tree", CARD, 6, 2, seconds=1.0)
    code = (
        "import sys; from pathlib import Path\n"
        "from datasets.ekman6 import CARD; from datasets.layout import index_tree\n"
        "from datasets.prepared import Form, prepare\n"
        "if __name__ == '__main__':\n"
        f"    _, clips, _ = index_tree(Path({str(tree)!r}), CARD)\n"
        f"    prepare(clips, Form.of(16, 24), Path({str(tmp_path / 'out')!r}), lambda *a: None)\n"
    )
    (tmp_path / "job.py").write_text(code)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, str(tmp_path / "job.py")], env=env)
    place = tmp_path / "out" / FORM.folder
    end = time.monotonic() + 60
    while len(list(place.glob("*.safetensors"))) < 5 and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1)
    done = {path: path.stat().st_mtime_ns for path in place.glob("*.safetensors")}
    assert 5 <= len(done) < 48
    for path in done:
        read_facts(path)  # whole
    _, clips, _ = index_tree(tree, CARD)
    resumed = prepare(clips, FORM, tmp_path / "out", silent)
    assert {path: path.stat().st_mtime_ns for path in done} == done  # kept, not made again
    undisturbed = prepare(clips, FORM, tmp_path / "fresh", silent)
    assert contents(resumed) == contents(undisturbed)
    for one, other in zip(resumed, undisturbed, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()
    left = {path.suffix for path in place.iterdir() if not path.name.startswith(".")}
    assert left == {".safetensors"}


def test_a_problem_file_is_json_that_people_can_read(tmp_path):
    (tmp_path / "empty.mp4").touch()
    clip = Clip("joy/empty", 3, "train", "empty", Files(video=tmp_path / "empty.mp4"))
    prepare([clip], FORM, tmp_path / "out", silent)
    (told,) = (tmp_path / "out").rglob("*.json")
    assert json.loads(told.read_text())["problems"][0][:2] == ["unreadable", "joy/empty"]
