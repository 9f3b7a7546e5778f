"""Prepared store: no work is done twice or left half done, and what is read equals what was decoded."""

import errno
import os
from itertools import pairwise

import numpy as np
import pytest

from bench.errors import StoreError
from bench.processes import run_each
from bench.types import AudioSpec, Clip, ClipSources, Sampling, VideoSpec
from datasets.catalog.ekman6 import INFO
from datasets.index import index_tree
from datasets.prepare import PrepareSpec, prepare_clips, read_clip_facts
from datasets.prepared_clips import open_clip
from datasets.streams.audio import SILENCE_LEVEL
from tests.datasets.crash import crash_or_name
from tests.datasets.trees import brightness, write_frames, write_media, write_mp3, write_srt, write_tree
from tests.inputs import list_present

FORM = PrepareSpec.for_size(16, 24)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("tree"), INFO, 2, 1, seconds=0.2)


def silent(what, done, total):
    pass


def contents(found):
    return [(item.clip.key, item.content, item.path is not None, item.issues) for item in found]


def test_preparing_again_does_nothing_and_returns_the_same(tree, tmp_path):
    _, clips, _ = index_tree(tree, INFO)
    reports = []
    first = prepare_clips(clips, FORM, tmp_path, lambda *args: reports.append(args))
    assert reports[-1] == ("prepare", 18, 18) and all(item.path for item in first)
    stamps = {item.path: item.path.stat().st_mtime_ns for item in first}
    again = prepare_clips(clips, FORM, tmp_path, lambda *args: pytest.fail("worked again"))
    assert contents(again) == contents(first)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_a_clip_that_changes_is_prepared_again_and_the_others_are_not(tree, tmp_path, prepared_here):
    _, clips, _ = index_tree(tree, INFO)
    before = prepare_clips(clips, FORM, tmp_path, silent)
    source = clips[0].sources.transcript
    original = source.read_bytes()
    try:
        write_srt(source, "quite another word")
        reports = []
        after = prepare_clips(clips, FORM, tmp_path, lambda *args: reports.append(args))
    finally:
        source.write_bytes(original)
    assert reports[-1] == ("prepare", 1, 1)
    assert before[0].content != after[0].content and before[0].path != after[0].path
    assert contents(before)[1:] == contents(after)[1:]


def test_a_test_prepares_many_clips_without_starting_processes(tmp_path, prepared_here, monkeypatch):
    monkeypatch.setattr("bench.processes._run_pool", lambda *args: pytest.fail("started a pool"))
    files = [tmp_path / f"{number}.mp4" for number in range(40)]
    for path in files:
        path.touch()
    clips = [Clip(f"joy/{path.stem}", 3, "train", path.stem, ClipSources(video=path)) for path in files]
    assert len(prepare_clips(clips, FORM, tmp_path / "out", silent)) == 40


def test_other_settings_have_another_folder(tree, tmp_path):
    _, clips, _ = index_tree(tree, INFO)
    small = prepare_clips(clips[:1], FORM, tmp_path, silent)[0].path
    large = prepare_clips(clips[:1], PrepareSpec.for_size(32, 24), tmp_path, silent)[0].path
    assert small.parent != large.parent and small.name == large.name


def test_unreadable_media_are_reported_each_time_and_the_others_are_prepared(tmp_path):
    good = write_media(tmp_path / "good.avi", 0.2, rate=16000)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mkv").write_text("no video")
    clips = [
        Clip(f"joy/{path.stem}", 3, "train", path.stem, ClipSources(video=path))
        for path in (good, tmp_path / "empty.mp4", tmp_path / "text.mkv")
    ]
    for _ in range(2):
        found = prepare_clips(clips, FORM, tmp_path / "out", silent)
        assert [item.path is not None for item in found] == [True, False, False]
        assert [[(p.what, p.where) for p in item.issues] for item in found] == [
            [],
            [("unreadable", "joy/empty")],
            [("unreadable", "joy/text")],
        ]
        assert "0 bytes" in found[1].issues[0].why


def test_a_clip_with_one_modality_is_used_and_reported(tmp_path):
    mute = Clip("joy/mute", 3, "train", "mute", ClipSources(frames=write_frames(tmp_path / "mute", 0.2)))
    blind = Clip("joy/blind", 3, "train", "blind", ClipSources(audio=write_mp3(tmp_path / "blind.mp3", 0.2)))
    found = prepare_clips([mute, blind], FORM, tmp_path / "out", silent)
    assert [[p.what for p in item.issues] for item in found] == [["no sound"], ["no picture"]]
    assert [read_clip_facts(item.path)["frames"] for item in found] == [6, 0]


def test_broken_audio_next_to_good_video_loses_only_the_audio(tmp_path):
    (tmp_path / "bad.mp3").write_text("no sound")
    files = ClipSources(frames=write_frames(tmp_path / "c", 0.2), audio=tmp_path / "bad.mp3")
    (found,) = prepare_clips([Clip("joy/c", 3, "train", "c", files)], FORM, tmp_path / "out", silent)
    assert found.path and [p.what for p in found.issues] == ["sound", "no sound"]


def test_broken_video_next_to_good_audio_loses_only_the_video(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "000001.jpg").write_text("no picture")
    files = ClipSources(frames=tmp_path / "c", audio=write_mp3(tmp_path / "c.mp3", 0.2))
    (found,) = prepare_clips([Clip("joy/c", 3, "train", "c", files)], FORM, tmp_path / "out", silent)
    assert found.path and [p.what for p in found.issues] == ["picture", "no picture"]
    assert read_clip_facts(found.path)["frames"] == 0 and read_clip_facts(found.path)["sound"] > 0


def test_frames_rewritten_in_place_are_prepared_again(tmp_path):
    folder = write_frames(tmp_path / "c", 0.2)
    clip = Clip("joy/c", 3, "train", "c", ClipSources(frames=folder))
    (before,) = prepare_clips([clip], FORM, tmp_path / "out", silent)
    with (folder / "000002.jpg").open("r+b") as file:
        file.write((folder / "000006.jpg").read_bytes())
    (after,) = prepare_clips([clip], FORM, tmp_path / "out", silent)
    assert before.path != after.path and before.content != after.content


def broken(path, error, monkeypatch):
    """Make the reading of one file fail like a faulty disk or a missing permission."""
    opened = type(path).open

    def faulty(self, *args, **kwargs):
        if self == path:
            raise OSError(error, os.strerror(error), str(self))
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(type(path), "open", faulty)


@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES])
@pytest.mark.parametrize("part", ["video", "frame", "audio", "transcript"])
def test_a_temporary_fault_is_reported_and_not_stored(tmp_path, monkeypatch, error, part):
    frames = write_frames(tmp_path / "c", 0.2)
    paths = {"video": write_media(tmp_path / "v.avi", 0.2, rate=16000), "frame": frames / "000003.jpg"}
    paths |= {"audio": write_mp3(tmp_path / "c.mp3", 0.2), "transcript": write_srt(tmp_path / "c.srt", end=0.2)}
    clips = [
        Clip(
            "joy/c", 3, "train", "c", ClipSources(frames=frames, audio=paths["audio"], transcript=paths["transcript"])
        ),
        Clip("joy/v", 3, "train", "v", ClipSources(video=paths["video"])),
    ]
    with monkeypatch.context() as patch:
        broken(paths[part], error, patch)
        found = prepare_clips(clips, FORM, tmp_path / "out", silent)
    hit = found[part == "video"]
    assert hit.path is None and [p.what for p in hit.issues] == ["unreadable"]
    assert paths[part].name in hit.issues[0].why and os.strerror(error) in hit.issues[0].why
    assert found[part != "video"].path is not None
    assert all(item.path is not None for item in prepare_clips(clips, FORM, tmp_path / "out", silent))


def test_a_source_that_vanishes_while_the_run_starts_loses_only_its_clip(tmp_path):
    good, vanishing = (write_media(tmp_path / name, 0.2, rate=16000) for name in ("good.avi", "lost.avi"))
    clips = [Clip(f"joy/{path.stem}", 3, "train", path.stem, ClipSources(video=path)) for path in (good, vanishing)]
    vanishing.unlink()
    found = prepare_clips(clips, FORM, tmp_path / "out", silent)
    assert [item.path is not None for item in found] == [True, False]
    assert [p.what for p in found[1].issues] == ["unreadable"] and "lost.avi" in found[1].issues[0].why


@pytest.mark.parametrize(("picture", "sound"), [(1.0, 3.0), (3.0, 1.0)])
def test_a_clip_is_as_long_as_the_longer_of_its_video_and_its_audio(tmp_path, picture, sound):
    words = write_srt(tmp_path / "c.srt", "early", 0.2, 0.4)
    words.write_text(words.read_text() + "\n2\n00:00:02,500 --> 00:00:02,900\nlate\n")
    files = ClipSources(write_frames(tmp_path / "c", picture), None, write_mp3(tmp_path / "c.mp3", sound), words)
    (found,) = prepare_clips([Clip("joy/c", 3, "train", "c", files)], FORM, tmp_path / "out", silent)
    assert [(p.what, p.where) for p in found.issues] == [("length", "joy/c")]
    assert f"video {picture:.1f} s, audio {sound:.1f} s" in found.issues[0].why
    facts = read_clip_facts(found.path)
    assert abs(facts["frames"] / 30 - 3.0) < 0.2 and [row[0] for row in facts["words"]] == ["early", "late"]
    sampling = Sampling(3, VideoSpec(2, 3, 16), AudioSpec(24), training=False)
    sample = open_clip(found.path, sampling, None)
    shown, heard = sample.video.float().mean((2, 3, 4))[2], sample.audio[2]
    if picture < sound:
        assert (shown - brightness(1.0)).abs().max() < 8 and heard.mean() > SILENCE_LEVEL + 3
    else:
        assert (heard == SILENCE_LEVEL).all()


def test_a_small_difference_of_length_is_no_issue(tmp_path):
    for picture, sound in ((1.0, 1.4), (1.4, 1.0)):
        files = ClipSources(write_frames(tmp_path / f"{picture}", picture), None, write_mp3(tmp_path / "c.mp3", sound))
        (found,) = prepare_clips([Clip("joy/c", 3, "train", "c", files)], FORM, tmp_path / "out", silent)
        assert not found.issues and read_clip_facts(found.path)["frames"] == round(picture * 30)


def test_words_outside_the_clip_are_dropped_and_counted(tmp_path):
    words = write_srt(tmp_path / "c.srt", "one two", 0.4, 0.6)
    files = ClipSources(frames=write_frames(tmp_path / "c", 0.5), transcript=words)
    (found,) = prepare_clips([Clip("joy/c", 3, "train", "c", files)], FORM, tmp_path / "out", silent)
    reasons = {p.what: p.why for p in found.issues}
    assert set(reasons) == {"outside", "no sound"} and "1 of 2 words" in reasons["outside"]
    assert [row[0] for row in read_clip_facts(found.path)["words"]] == ["one"]
    write_srt(words, "late words", 2.0, 3.0)
    (found,) = prepare_clips([Clip("joy/c", 3, "train", "c", files)], FORM, tmp_path / "out", silent)
    sampling = Sampling(3, VideoSpec(2, 3, 16), AudioSpec(24), training=False)
    assert list_present(open_clip(found.path, sampling, None)) == [True, False, False]


def test_temporary_files_of_killed_processes_are_removed_by_the_next_one_that_prepares(tmp_path):
    clip = Clip("joy/c", 3, "train", "c", ClipSources(audio=write_mp3(tmp_path / "c.mp3", 0.2)))
    place = prepare_clips([clip], FORM, tmp_path / "out", silent)[0].path.parent
    left = place / ".tmpx1"
    left.touch()
    prepare_clips([clip], FORM, tmp_path / "out", silent)
    assert left.exists()  # nothing to prepare, so the store was not locked
    write_mp3(tmp_path / "c.mp3", 0.3)
    prepare_clips([clip], FORM, tmp_path / "out", silent)
    assert not left.exists()


def test_a_clip_that_was_only_touched_or_copied_is_hashed_and_not_decoded_again(tmp_path, monkeypatch):
    files = ClipSources(frames=write_frames(tmp_path / "c", 0.2), audio=write_mp3(tmp_path / "c.mp3", 0.2))
    clip = Clip("joy/c", 3, "train", "c", files)
    before = prepare_clips([clip], FORM, tmp_path / "out", silent)
    monkeypatch.setattr("datasets.decode.clip.decode_clip", lambda *args: pytest.fail("decoded again"))
    os.utime(tmp_path / "c.mp3", (1, 1))
    os.utime(tmp_path / "c" / "000003.jpg", (1, 1))
    after = prepare_clips([clip], FORM, tmp_path / "out", silent)
    assert contents(before) == contents(after) and before[0].path == after[0].path
    (before[0].path.parent / "ledger.jsonl").unlink()
    assert contents(prepare_clips([clip], FORM, tmp_path / "out", silent)) == contents(before)


def test_a_quick_check_detects_changes_of_a_folder_and_its_first_and_last_frame(tmp_path):
    folder = write_frames(tmp_path / "c", 0.3)
    clip = Clip("joy/c", 3, "train", "c", ClipSources(frames=folder))
    (before,) = prepare_clips([clip], FORM, tmp_path / "out", silent)
    for path in sorted(folder.iterdir()):  # rewritten in place: the folder's own time stays
        path.write_bytes(path.read_bytes() + b"\0")
    (after,) = prepare_clips([clip], FORM, tmp_path / "out", silent, thorough=False)
    assert before.content != after.content
    (folder / "000005.jpg").unlink()
    (fewer,) = prepare_clips([clip], FORM, tmp_path / "out", silent, thorough=False)
    assert fewer.content != after.content


def test_stored_frames_equal_their_sources(tmp_path):
    from safetensors import safe_open

    from datasets.streams.video import decode_frames

    files = ClipSources(frames=write_frames(tmp_path / "c", 1.0), transcript=write_srt(tmp_path / "c.srt", "what joy"))
    (found,) = prepare_clips([Clip("joy/c", 3, "train", "c", files)], FORM, tmp_path / "out", silent)
    with safe_open(found.path, framework="numpy") as file:
        offsets, data, index = (file.get_tensor(name) for name in ("offsets", "packets", "index"))
    packets = tuple(data[first:end].tobytes() for first, end in pairwise(offsets))
    for place in (0, 13, 29):
        frame = index[place]
        ((_, shown),) = decode_frames(packets, [frame])
        grey = shown.astype(float).mean()
        assert abs(grey - brightness(place / 30)) < 5
    assert [row[0] for row in read_clip_facts(found.path)["words"]] == ["what", "joy"] and np.all(np.diff(index) == 1)


def test_a_half_written_row_only_makes_its_clip_be_checked_again(tmp_path, monkeypatch):
    clips = [
        Clip(f"joy/{n}", 3, "train", str(n), ClipSources(audio=write_mp3(tmp_path / f"{n}.mp3", 0.2 + n / 10)))
        for n in range(3)
    ]
    before = prepare_clips(clips, FORM, tmp_path / "out", silent)
    ledger = before[0].path.parent / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-40])
    monkeypatch.setattr("datasets.decode.clip.decode_clip", lambda *args: pytest.fail("decoded again"))
    reports = []
    after = prepare_clips(clips, FORM, tmp_path / "out", lambda *args: reports.append(args))
    assert contents(before) == contents(after) and reports[-1] == ("prepare", 1, 1)
    assert prepare_clips(clips, FORM, tmp_path / "out", lambda *args: pytest.fail("worked again"))


def test_a_manifest_of_superseded_rows_is_rewritten(tmp_path):
    clip = Clip("joy/c", 3, "train", "c", ClipSources(audio=write_mp3(tmp_path / "c.mp3", 0.2)))
    (before,) = prepare_clips([clip], FORM, tmp_path / "out", silent)
    ledger = before.path.parent / "ledger.jsonl"
    (line,) = ledger.read_text().splitlines()
    ledger.write_text(f"{line}\n" * 1500)
    os.utime(tmp_path / "c.mp3", (1, 1))
    prepare_clips([clip], FORM, tmp_path / "out", silent)
    assert len(ledger.read_text().splitlines()) == 2


def test_the_role_of_a_file_and_the_number_of_a_frame_are_part_of_the_content(tmp_path):
    media = write_media(tmp_path / "a.avi", 0.4, rate=16000)
    seen, heard = (
        prepare_clips([Clip("joy/a", 3, "train", "a", files)], FORM, tmp_path / "out", silent)[0]
        for files in (ClipSources(video=media), ClipSources(audio=media))
    )
    assert seen.content != heard.content and seen.path != heard.path
    assert read_clip_facts(seen.path)["frames"] == 12 and read_clip_facts(heard.path)["frames"] == 0
    clip = Clip("joy/c", 3, "train", "c", ClipSources(frames=write_frames(tmp_path / "c", 0.2)))
    before = prepare_clips([clip], FORM, tmp_path / "out", silent)[0]
    (tmp_path / "c/000006.jpg").rename(tmp_path / "c/000009.jpg")
    after = prepare_clips([clip], FORM, tmp_path / "out", silent)[0]
    assert (before.row.frames, after.row.frames) == (6, 9)


def test_a_clip_that_changes_while_being_read_is_reported_and_never_stored_under_the_old_name(tmp_path, monkeypatch):
    from datasets.decode import clip as decoding

    media, decode = write_media(tmp_path / "a.avi", 0.2, rate=16000), decoding.decode_clip
    clip = Clip("joy/a", 3, "train", "a", ClipSources(video=media))

    def change(*args):
        write_media(media, 0.4, rate=16000)
        return decode(*args)

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "decode_clip", change)
        (hit,) = prepare_clips([clip], FORM, tmp_path / "out", silent)
    assert hit.path is None and "changed while being read" in hit.issues[0].why
    assert not list((tmp_path / "out").rglob("*.safetensors"))
    assert prepare_clips([clip], FORM, tmp_path / "out", silent)[0].row.frames == 12


@pytest.mark.parametrize("size", [0, 4, 200])
def test_a_prepared_file_that_was_cut_short_is_made_again(tmp_path, size):
    from datasets.prepared_clips import ClipCache

    clip = Clip("joy/c", 3, "train", "c", ClipSources(audio=write_mp3(tmp_path / "c.mp3", 0.5)))
    (before,) = prepare_clips([clip], FORM, tmp_path / "out", silent)
    whole = before.path.read_bytes()
    before.path.write_bytes(whole[:size])
    with pytest.raises(StoreError, match="prepare"):
        ClipCache().open(before.path)
    (after,) = prepare_clips([clip], FORM, tmp_path / "out", silent)
    assert after.path.read_bytes() == whole


def test_a_clip_that_crashes_its_process_loses_only_itself(tmp_path):
    good = [write_mp3(tmp_path / f"{n}.mp3", 0.2 + n / 100) for n in range(8)]
    pieces = [(path,) for path in [*good[:3], tmp_path / "crash", *good[3:]]]
    found = list(run_each(crash_or_name, pieces, "prepare", silent, lambda path: f"crashed: {path.name}"))
    assert sorted(found) == sorted([*(path.name for path in good), "crashed: crash"])
