"""Arrays made elsewhere: the columns features/NAME of a manifest, the store, batches, and methods that read them."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.errors import ConfigError, DataError, MediaError
from bench.loader import collate, slice_batch
from bench.rng import RngTree
from bench.types import SplitRequest
from datasets.registry import make_dataset, make_manifest_source
from datasets.streams.features import read_array, read_shape
from methods import METHODS
from methods.baseline_models import summarise_arrays
from studies.plan import resolve_requests
from studies.requests import check_support, find_arm
from tests.datasets.trees import write_mp3

FEATURES = METHODS["probe-features"].sampling(METHODS["probe-features"].config(), False)


def write_clips(root, count=12, extra="", **arrays):
    """Write a manifest of arrays: `arrays` maps a name to a function of the clip's number."""
    names = list(arrays)
    lines = [",".join(["clip", "label", *(f"features/{name}" for name in names)])]
    for number in range(count):
        files = []
        for name in names:
            values = arrays[name](number)
            file = f"{name}{number}.npy"
            if values is None:
                files.append("")
                continue
            np.save(root / file, values)
            files.append(file)
        lines.append(",".join([f"c{number}", "ab"[number % 2], *files]))
    (root / "clips.csv").write_text("\n".join(lines) + "\n" + extra)
    return root / "clips.csv"


def steps(number):
    return np.full((2 + number % 3, 4), number, dtype=np.float64)


def load(path, cache, fold=1):
    return make_dataset(make_manifest_source(path, [])).load(SplitRequest(None, cache, 24, 32, 0, fold))


def test_arrays_are_prepared_and_opened_as_streams(tmp_path):
    splits = load(write_clips(tmp_path, audio=steps, face=lambda n: np.ones(7) if n % 2 else None), tmp_path / "cache")
    assert splits.info.streams == ("features/audio", "features/face")
    assert splits.info.features == {"audio": 4, "face": 7}
    index = [clip.key for clip in splits.train.clips].index("a/c4") if "a/c4" in str(splits.train.clips) else 0
    clip = splits.train.read(index, FEATURES, RngTree(0), 0)
    number = int(splits.train.clips[index].key[3:])
    assert torch.equal(clip.streams["features/audio"], torch.full((2 + number % 3, 4), float(number)))
    assert clip.present == {
        **{"video": False, "audio": False, "text": False},
        **{"features/audio": True, "features/face": bool(number % 2)},
    }
    assert clip.streams["features/face"].shape == (1, 7)
    assert splits.streams["features/audio"] == 1.0 and 0 < splits.streams["features/face"] < 1


def test_a_stream_that_is_not_read_is_blank(tmp_path):
    splits = load(write_clips(tmp_path, audio=steps, face=steps), tmp_path / "cache")
    one = splits.train.read(0, replace(FEATURES, reads=("features/face",)), RngTree(0), 0)
    assert one.present["features/face"] and not one.present["features/audio"]
    assert not one.streams["features/audio"].any()


def test_batches_are_padded_and_have_lengths(tmp_path):
    splits = load(write_clips(tmp_path, audio=steps), tmp_path / "cache")
    opened = [splits.train.read(i, FEATURES, RngTree(0), 0) for i in range(4)]
    batch = collate(opened)
    lengths = [len(clip.streams["features/audio"]) for clip in opened]
    assert batch.lengths["features/audio"].tolist() == lengths and len(batch) == 4
    assert batch.streams["features/audio"].shape == (4, max(lengths), 4)
    for row, (clip, count) in enumerate(zip(opened, lengths, strict=True)):
        assert torch.equal(batch.streams["features/audio"][row, :count], clip.streams["features/audio"])
        assert not batch.streams["features/audio"][row, count:].any()
    part = slice_batch(batch, 1, 3)
    assert len(part) == 2 and part.lengths["features/audio"].tolist() == lengths[1:3]
    assert batch.features.keys() == {"audio"}
    whole = summarise_arrays(batch)  # padding does not count
    for row, clip in enumerate(opened):
        torch.testing.assert_close(whole[row], summarise_arrays(collate([clip]))[0])


def test_another_value_is_another_content_and_another_cut_of_other_files_is_not(tmp_path):
    path, cache = write_clips(tmp_path, audio=steps), tmp_path / "cache"
    first = load(path, cache)
    again = load(path, cache)
    assert (first.content_hash, first.fingerprint) == (again.content_hash, again.fingerprint)
    np.save(tmp_path / "audio3.npy", steps(3) + 1e-3)
    changed = load(path, cache)
    assert changed.content_hash != first.content_hash and changed.fingerprint == first.fingerprint


def test_numbers_that_are_not_finite_become_zero_and_are_counted(tmp_path):
    def broken(number):
        values = steps(number)
        values[0, 0], values[1, 1] = -np.inf, np.nan
        return values

    splits = load(write_clips(tmp_path, audio=broken), tmp_path / "cache")
    found = [issue for issue in splits.issues if issue.what == "features"]
    assert len(found) == 12 and "2 of 8 numbers are not finite; replaced by 0" in found[0].why
    assert splits.train.read(0, FEATURES, RngTree(0), 0).streams["features/audio"].isfinite().all()


def test_an_array_of_another_width_is_left_out_and_reported(tmp_path):
    path = write_clips(tmp_path, audio=lambda n: np.ones((3, 4 if n else 9)), face=steps)
    splits = load(path, tmp_path / "cache")
    found = [issue.why for issue in splits.issues if issue.what == "features"]
    assert len(found) == 11 and found[0] == "audio: 4 values a step, not 9; used without"


def test_media_and_arrays_go_together(tmp_path, prepared_here):
    lines = ["clip,label,audio,features/face"]
    for number in range(10):
        write_mp3(tmp_path / f"c{number}.mp3", 0.2, shade=number)
        np.save(tmp_path / f"f{number}.npy", steps(number))
        lines.append(f"c{number},{'ab'[number % 2]},c{number}.mp3,f{number}.npy")
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    splits = load(tmp_path / "clips.csv", tmp_path / "cache")
    assert splits.info.streams == ("audio", "text", "features/face")
    opened = splits.train.read(0, replace(FEATURES, reads=("audio", "features/*")), RngTree(0), 0)
    assert opened.present["audio"] and opened.present["features/face"] and not opened.present["video"]


def save_npz(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "is not an array file"),
        (lambda path: path.write_bytes(b"<html>"), "is not an array file"),
        (
            lambda path: np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True),
            "holds object, not numbers",
        ),
        (lambda path: np.save(path, np.array(["a", "b"])), "holds str"),
        (lambda path: np.save(path, np.zeros((2, 2), dtype=complex)), "holds complex128, not numbers"),
        (lambda path: np.save(path, np.zeros((2, 2, 2))), r"has shape \(2, 2, 2\), not"),
        (lambda path: np.save(path, np.zeros((0, 4))), r"has shape \(0, 4\), not"),
        (lambda path: np.save(path, np.float32(3)), r"has shape \(\), not"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(tmp_path, make, message):
    path = tmp_path / "x.npy"
    make(path)
    with pytest.raises(MediaError, match=message):
        read_array(path, "c", [])


def test_a_header_that_claims_too_much_is_refused_before_it_is_read(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 8)})
    (tmp_path / "x.npy").write_bytes(header.getvalue())
    with pytest.raises(MediaError, match="more than 100 million numbers"):
        read_shape(tmp_path / "x.npy")
    np.save(tmp_path / "y.npy", np.zeros((100, 4)))
    (tmp_path / "y.npy").write_bytes((tmp_path / "y.npy").read_bytes()[:500])
    with pytest.raises(MediaError, match=r"y.npy is damaged"):
        read_array(tmp_path / "y.npy", "c", [])


def test_npz_files_hold_values(tmp_path):
    assert read_array(save_npz(tmp_path / "a.npz", values=np.ones((3, 2))), "c", []).shape == (3, 2)
    with pytest.raises(MediaError, match="has no array 'values'"):
        read_array(save_npz(tmp_path / "b.npz", other=np.ones(2)), "c", [])
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr("values.npy", b"nothing")
    with pytest.raises(MediaError, match="is not an array file"):
        read_array(tmp_path / "c.npz", "c", [])


def test_paths_of_arrays_stay_in_the_folder(tmp_path):
    write_clips(tmp_path, count=1, audio=steps)
    for cell, message in (
        ("../x.npy", "is not a path below"),
        ("/x.npy", "is not a path below"),
        ("x.txt", "not a .npy"),
    ):
        (tmp_path / "clips.csv").write_text(f"clip,label,features/audio\nc0,a,{cell}\n")
        with pytest.raises(DataError, match=message):
            make_manifest_source(tmp_path / "clips.csv", [])


def test_a_method_that_reads_no_stream_of_a_data_set_is_refused_before_anything_is_decoded(tmp_path):
    path = write_clips(tmp_path, audio=steps)
    with pytest.raises(
        ConfigError, match=r"mbt reads video, audio, but clips has features/audio; choose --method from "
    ):
        resolve_requests("mbt", str(path), "quick", [], range(1))
    with pytest.raises(ConfigError, match=r"probe-features reads features/\*, but Ekman-6 has video, audio, text"):
        resolve_requests("probe-features", "ekman6", "quick", [], range(1))
    info = make_manifest_source(path, []).info
    arm = find_arm("mbt")
    config = arm.method.config.from_preset("quick")
    check_support(arm, config, replace(info, streams=("audio", "features/audio")))  # one of its streams is enough
    with pytest.raises(ConfigError, match="mbt reads video"):
        check_support(arm, config.override({"modalities": "video"}), replace(info, streams=("audio", "text")))


def test_a_method_that_needs_classes_is_refused_for_scores(tmp_path):
    with pytest.raises(
        ConfigError, match=r"mart cannot predict the scores \(valence, arousal\) of Aff-Wild2 VA; choose"
    ):
        resolve_requests("mart", "affwild2-va", "quick", [], range(1))
