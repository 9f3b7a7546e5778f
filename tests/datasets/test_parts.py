"""Parts of longer files: their columns, names, groups, content, words, pictures, and what preparing them costs."""

import os
import shutil
from collections import defaultdict
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.errors import DataError
from bench.types import Clip, ClipSources, SplitRequest, Word
from datasets import prepare as preparing
from datasets.prepare import IdentifiedClip, PrepareSpec, batch_clips, prepare_clips, read_clip_facts
from datasets.registry import make_dataset
from datasets.sources import HashedSources
from datasets.streams.text import read_transcript, write_transcripts
from datasets.summary import locate_dataset, read_thumbnails, summarise_dataset
from tests.datasets.slices import write_numbered
from tests.datasets.test_own import KNOWN, empty, listed, make_manifest_source, write
from tests.datasets.trees import brightness, write_frames, write_media, write_mp3, write_srt

FORM = PrepareSpec.for_size(16, 24)


def silent(what, done, total):
    pass


def index_rows(root, *rows, columns="label,video,start,end"):
    return listed(write(root / "m.csv", columns, *rows))[1]


@pytest.mark.parametrize(
    ("cells", "span"),
    [
        ("12,12.5", (12.0, 12.5)),
        ("1:30,1:02:03.25", (90.0, 3723.25)),
        ("90:00,10:00:00", (5400.0, 36000.0)),
        ("00:00:05,", (5.0, None)),
        (",5", (0.0, 5.0)),
        ("0,5", (0.0, 5.0)),
        ("12.10000000000000142,13", (12.1, 13.0)),
        (",", (None, None)),
        ("0,", (None, None)),
    ],
)
def test_times_are_seconds_or_hours_minutes_and_seconds(tmp_path, cells, span):
    empty(tmp_path, "a.mp4", "b.mp4")
    index = index_rows(tmp_path, f"joy,a.mp4,{cells}", "rage,b.mp4,,")
    assert [(clip.start, clip.end) for clip in index.available] == [span, (None, None)]
    assert index.available[0].is_part == (span != (None, None)) and not index.available[1].is_part


HOSTILE = [
    "1e308",
    "0x10",
    "1:99",
    "1:60:00",
    "１２",
    "-1",
    "nan",
    "inf",
    '"12,5"',
    "1:5",
    ":30",
    "1.",
    "+1",
    "10h",
    "9" * 8,
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("column", ["start", "end"])
def test_a_cell_that_is_no_time_is_an_error_that_names_row_column_and_value(tmp_path, text, column):
    empty(tmp_path, "a.mp4", "b.mp4")
    cells = f"{text}," if column == "start" else f",{text}"
    with pytest.raises(DataError, match=rf"m\.csv:3: column '{column}' is .*, not a time; write seconds") as error:
        index_rows(tmp_path, "joy,b.mp4,,", f"rage,a.mp4,{cells}")
    assert text.strip('"') in str(error.value) and "\n" not in str(error.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text("0123456789:.,-e \u0663\uff11", max_size=9), min_size=2, max_size=2))
def test_any_cells_are_a_span_or_refused(tmp_path, cells):
    empty(tmp_path, "a.mp4", "b.mp4")
    quoted = ",".join(f'"{cell}"' for cell in cells)
    try:
        index = index_rows(tmp_path, f"joy,a.mp4,{quoted}", "rage,b.mp4,,")
    except DataError as error:
        assert str(error).startswith("m.csv:2: column ")
    else:
        clip = index.available[0]
        assert 0 <= (clip.start or 0.0) < (clip.end or np.inf) < np.inf or clip.end is None
        assert all(set(cell) <= set("0123456789:. ") for cell in cells)


@pytest.mark.parametrize("cells", ["5,5", "5,4.999", "1:00,59", ",0", "0,0:00", "5,5.0000001"])
def test_an_end_that_is_not_after_the_start_is_an_error(tmp_path, cells):
    empty(tmp_path, "a.mp4")
    with pytest.raises(DataError, match=r"m\.csv:2: column 'end' is '.*', not after the start"):
        index_rows(tmp_path, f"joy,a.mp4,{cells}", "rage,a.mp4,1,2")


def test_parts_have_readable_names_and_a_part_listed_twice_is_used_once(tmp_path):
    empty(tmp_path, "v/show.mkv", "f/000001.jpg")
    rows = ["joy,v/show.mkv,,0,10", "joy,v/show.mkv,,1:30,", "rage,,f,62.25,1:03", "joy,v/show.mkv,,0:00,0:10.0"]
    index = index_rows(tmp_path, *rows, columns="label,video,frames,start,end")
    assert [clip.key for clip in index.available] == ["joy/show-0-10", "joy/show-90-end", "rage/f-62.25-63"]
    assert [(p.what, p.where) for p in index.issues if p.what == "duplicate"] == [("duplicate", "joy/show-0-10")]
    with pytest.raises(DataError, match=r"m\.csv:2 and m\.csv:3 are both clip 'joy/x' but name different times"):
        index_rows(
            tmp_path,
            "joy,v/show.mkv,0,1,x",
            "joy,v/show.mkv,1,2,x",
            "rage,v/show.mkv,,,",
            columns="label,video,start,end,clip",
        )


def split_of(index):
    found = defaultdict(set)
    for clip in index.listed:
        found[clip.group].add(clip.split)
    return found


def test_parts_of_one_file_share_a_group_in_every_fold(tmp_path):
    names = [f"v/{n}.mp4" for n in range(8)]
    empty(tmp_path, *names)
    rows = [f"{('joy', 'rage')[n % 2]},{name},{n},{n + 1}" for name in names for n in range(6)]
    path = write(tmp_path / "m.csv", "label,video,start,end", *rows, "joy,v/0.mp4,,")
    for fold in (1, 2, 3, 4, 5):
        index = listed(path, fold)[1]
        assert set(split_of(index)) == set(names) and all(len(found) == 1 for found in split_of(index).values())
    assert next(clip for clip in index.listed if clip.key == "joy/0").group == "v/0.mp4"  # the whole file too


def test_parts_may_have_numbers_to_predict_and_no_class(tmp_path):
    empty(tmp_path, *(f"{n}.mp4" for n in range(6)))
    rows = [f"{n}.mp4,{start},{start + 5},{n / 10}" for n in range(6) for start in (0, 5)]
    index = index_rows(tmp_path, *rows, columns="video,start,end,target/valence")
    assert [clip.key for clip in index.listed[:2]] == ["0-0-5", "0-5-10"]
    assert len(split_of(index)) == 6 and all(len(found) == 1 for found in split_of(index).values())


def test_rows_without_times_have_the_groups_that_they_had(tmp_path):
    empty(tmp_path, "a.mp4", "b.mp4")
    rows = ["joy,a.mp4,x,,", "rage,a.mp4,y,,", "joy,b.mp4,z,,"]
    index = index_rows(tmp_path, *rows, columns="label,video,clip,start,end")
    assert [clip.group for clip in index.listed] == ["joy/x", "rage/y", "joy/z"]


def test_groups_that_share_a_file_are_joined_and_reported(tmp_path):
    empty(tmp_path, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    rows = [
        *("joy,a.mp4,0,1,ann", "joy,a.mp4,1,2,ben", "rage,b.mp4,,,ben", "rage,c.mp4,,,cem"),
        *("joy,d.mp4,0,1,", "joy,d.mp4,1,2,", "rage,d.mp4,2,3,dan"),
    ]
    index = index_rows(tmp_path, *rows, columns="label,video,start,end,group")
    assert [clip.group for clip in index.listed] == ["ann", "ann", "ann", "cem", "dan", "dan", "dan"]
    assert [(p.what, p.where, p.why) for p in index.issues if p.what == "joined"] == [
        ("joined", "a.mp4", "parts of one file are in groups 'ann', 'ben'; used as one group")
    ]


def test_a_file_in_two_stated_splits_is_used_in_the_later_one(tmp_path):
    empty(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    rows = ["joy,a.mp4,0,1,train", "rage,a.mp4,1,2,train", "joy,a.mp4,2,3,test", "rage,b.mp4,0,9,train"]
    index = index_rows(tmp_path, *rows, columns="label,video,start,end,split")
    assert [clip.key for clip in index.listed] == ["joy/a-2-3", "rage/b-0-9"]
    assert [(p.where, p.why) for p in index.issues if p.what == "leak"] == [
        (f"{key}", "its group 'a.mp4' is in train and in test; used only in test")
        for key in ("joy/a-0-1", "rage/a-1-2")
    ]


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_links_to_one_file_are_one_file(tmp_path, link):
    empty(tmp_path, "a.mp4", "b/one.mp4", "b/two.wav")
    getattr(tmp_path / "z.mp4", link)(tmp_path / "a.mp4")
    (tmp_path / "d").symlink_to("b")
    rows = [
        "joy,a.mp4,,0,1",
        "rage,z.mp4,,1,2",
        "joy,b/one.mp4,,0,1",
        "rage,d/one.mp4,b/two.wav,5,6",
        "joy,,d/two.wav,,",
    ]
    index = index_rows(tmp_path, *rows, columns="label,video,audio,start,end")
    assert [clip.group for clip in index.listed] == ["a.mp4", "a.mp4", *["b/one.mp4"] * 3]


def test_parts_of_one_name_in_two_classes_are_not_taken_for_one_video(tmp_path):
    empty(tmp_path, "a/x.mp4", "b/x.mp4", "c.mp4")
    more = [f"joy,c.mp4,{n},{n + 1}" for n in range(30)]  # so that equal names are not taken for a coincidence
    index = index_rows(tmp_path, "joy,a/x.mp4,0,1", "rage,b/x.mp4,0,1", *more)
    assert [clip.group for clip in index.listed] == ["a/x.mp4", "b/x.mp4", *["c.mp4"] * 30]
    assert "two classes" not in {problem.what for problem in index.issues}


def test_a_missing_file_moves_no_group(tmp_path):
    rows = [f"{('joy', 'rage')[n % 2]},{n % 7}.mp4,{n},{n + 1}" for n in range(28)]
    empty(tmp_path, *(f"{n}.mp4" for n in range(7)))
    before = {clip.key: (clip.group, clip.split) for clip in index_rows(tmp_path, *rows).listed}
    (tmp_path / "3.mp4").unlink()
    index = index_rows(tmp_path, *rows)
    assert {clip.key: (clip.group, clip.split) for clip in index.listed} == before and len(index.available) == 24


def test_overlapping_parts_are_used_and_reported_once_a_file(tmp_path):
    empty(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    rows = [
        "joy,a.mp4,0,5",
        "rage,a.mp4,5,8",
        "joy,a.mp4,7,9",
        "joy,b.mp4,3,",
        "rage,b.mp4,,",
        "joy,c.mp4,0,1",
        "joy,c.mp4,1,2",
    ]
    index = index_rows(tmp_path, *rows)
    assert [(p.where, p.why) for p in index.issues if p.what == "overlapping"] == [
        ("a.mp4", "1 of 3 parts begin before another one ends, first joy/a-7-9; all are used"),
        ("b.mp4", "1 of 2 parts begin before another one ends, first joy/b-3-end; all are used"),
    ]
    assert len(index.available) == 7


def test_a_validation_fold_and_copies_of_a_file_respect_the_files(tmp_path, prepared_here):
    for n in range(12):
        write_media(tmp_path / f"{n}.avi", 1.0, rate=16000, size=(32, 24), shade=n)
    shutil.copy(tmp_path / "0.avi", tmp_path / "copy.avi")
    rows = [
        f"{label},{n}.avi,{start},{start + 0.5},{'test' if n in (0, 1) else 'train'}"
        for n in range(12)
        for label, start in (("joy", 0), ("rage", 0.5))
    ]
    rows += ["joy,copy.avi,0.1,0.4,train", "joy,copy.avi,0.6,0.9,train"]
    path = write(tmp_path / "m.csv", "label,video,start,end,split", *rows)
    source = make_manifest_source(path, KNOWN)
    for seed in range(3):
        splits = make_dataset(source).load(SplitRequest(None, tmp_path / "out", 16, 24, seed))
        groups = [{clip.group for clip in part.clips} for part in (splits.train, splits.val, splits.test)]
        assert not groups[0] & groups[1] and not (groups[0] | groups[1]) & groups[2] and all(groups)
        assert not any("copy" in key for key in groups[0] | groups[1])
    leaks = [p for p in splits.issues if p.what == "leak"]
    assert {p.where for p in leaks} == {"joy/copy-0.1-0.4", "joy/copy-0.6-0.9"}
    (same,) = [p for p in splits.issues if p.what == "same content"]
    assert same.where == "joy/0-0-0.5" and "same file as joy/copy-0.1-0.4" in same.why


def identify(clips):
    """Return the clips with sources that have a made-up hash."""
    return [IdentifiedClip(clip, HashedSources(clip.key, "", "", (), "0", ())) for clip in clips]


def make_part(path, start, end, name=None, **files):
    name = name or f"{path.stem}-{start}-{end}"
    return Clip(f"joy/{name}", 3, "train", path.name, ClipSources(video=path, **files), start, end)


def test_a_changed_time_prepares_that_clip_again_and_no_other(tmp_path):
    path = write_media(tmp_path / "a.avi", 3.0, rate=16000)
    clips = [make_part(path, n / 2, n / 2 + 0.5, str(n)) for n in range(5)]
    before = prepare_clips(clips, FORM, tmp_path / "out", silent)
    assert len({item.content for item in before}) == 5 and len({item.path for item in before}) == 5
    clips[2] = make_part(path, 1.0, 1.6, "2")
    reports = []
    after = prepare_clips(clips, FORM, tmp_path / "out", lambda *args: reports.append(args))
    assert reports[-1] == ("prepare", 1, 1)
    assert [a.content == b.content for a, b in zip(before, after, strict=True)] == [True, True, False, True, True]
    assert prepare_clips(clips, FORM, tmp_path / "out", lambda *args: pytest.fail("again"))[2].row.frames == 18
    os.utime(path)  # touched: hashed, not decoded
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.decode.clip._make_tensors", lambda *args: pytest.fail("decoded again"))
        assert [item.content for item in prepare_clips(clips, FORM, tmp_path / "out", silent)] == [
            item.content for item in after
        ]


def test_rows_of_whole_clips_are_those_of_a_data_set_without_parts(tmp_path):
    path, other = (write_media(tmp_path / name, 0.5, rate=16000) for name in ("a.avi", "b.avi"))
    whole = Clip("joy/a", 3, "train", "a", ClipSources(video=path))
    (alone,) = prepare_clips([whole], FORM, tmp_path / "out", silent)
    manifest = alone.path.parent / preparing.STORE_MANIFEST
    text = manifest.read_text()
    assert '"files"' not in text
    mixed, part = prepare_clips([whole, make_part(other, 0.1, 0.3)], FORM, tmp_path / "out", silent)
    assert (mixed.content, mixed.path) == (alone.content, alone.path) and mixed.row.files and part.row.files
    assert mixed.row.files == part.row.files  # two names of equal bytes


def count_bytes():
    """Return the bytes that this process has read so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux")
def test_sixty_parts_of_a_file_read_it_twice_once_to_hash_it(tmp_path):
    path = write_numbered(tmp_path / "a.mp4", "libx264", "aac", seconds=60, key_frames=25, crf="10")
    prepare_clips([make_part(path, 0.0, 0.1)], FORM, tmp_path / "first", silent)  # imports what decoding needs
    clips = [make_part(path, float(n), n + 1.0) for n in range(60)]
    before, reports = count_bytes(), []
    found = prepare_clips(clips, FORM, tmp_path / "out", lambda *args: reports.append(args))
    read, size = count_bytes() - before, path.stat().st_size
    assert all(item.path is not None and item.row.frames == 30 for item in found)
    assert size < read < 2 * size + 300_000
    assert [done for what, done, total in reports if (what, total) == ("prepare", 60)] == [0, *range(1, 61), 60]
    facts = read_clip_facts(found[30].path)
    assert (facts["frames"], facts["sound"]) == (30, 100)


def test_parts_of_one_file_are_one_piece_of_work_unless_too_many_overlap(tmp_path):
    one, two = tmp_path / "a.mp4", tmp_path / "b.mp4"
    clips = [Clip("joy/w", 3, "train", "w", ClipSources(video=one))]
    clips += [make_part(path, float(n), n + 4.0) for n in range(50, -1, -1) for path in (one, two)]
    batches = batch_clips(identify(clips))
    assert sorted(map(len, batches)) == [1, 51, 51] and batches[0][0].clip.start == 0.0
    same = [make_part(one, 0.0, 1.0 + n) for n in range(100)]
    assert [len(batch) for batch in batch_clips(identify(same))] == [32, 32, 32, 4]
    long = [make_part(one, float(n), None) for n in range(5)]
    assert [len(batch) for batch in batch_clips(identify(long))] == [2, 2, 1]


def test_a_process_that_dies_reports_every_part_of_its_batch():
    clips = (make_part(Path("a.mp4"), 0.0, 1.0), make_part(Path("a.mp4"), 1.0, 2.0))
    assert [key for key, why in preparing._report_crash(identify(clips)) if "crashed" in why] == [
        clip.key for clip in clips
    ]


def test_a_file_that_is_gone_is_reported_for_each_part(tmp_path):
    clips = [make_part(tmp_path / "gone.mp4", float(n), n + 1.0) for n in range(3)]
    found = prepare_clips(clips, FORM, tmp_path / "out", silent)
    assert [item.issues[0].why.split(":")[0] for item in found] == ["gone.mp4"] * 3


def test_words_of_a_part_are_those_that_begin_in_it_counted_from_its_start(tmp_path):
    path = write_media(tmp_path / "a.avi", 4.0, rate=16000)
    words = write_srt(tmp_path / "a.srt", "zero one two three", 0.0, 4.0)
    clips = [
        make_part(path, 1.0, 3.0, "b", transcript=words),
        make_part(path, 3.5, None, "c", transcript=words),
        make_part(path, 2.0, 3.0, "d", text="spread me"),
    ]
    found = prepare_clips(clips, FORM, tmp_path / "out", silent)
    facts = [read_clip_facts(item.path) for item in found]
    assert facts[0]["words"] == [["one", 0.0, 1.0], ["two", 1.0, 2.0]] and facts[1]["words"] == []
    assert [p.what for p in found[1].issues] == ["no words"] and not found[0].issues
    assert facts[2]["words"] == [["spread", 0.0, 0.5], ["me", 0.5, 1.0]]


def test_a_part_is_transcribed_alone_and_its_words_have_times_of_the_file(tmp_path):
    path = write_mp3(tmp_path / "a.mp3", 4.0)
    clips = [
        Clip(f"joy/a-{start:g}", 3, "train", "g", ClipSources(audio=path), start, end)
        for start, end in ((2.5, 3.5), (0.5, 1.0), (9.0, None))
    ]
    heard = []

    def recognise(samples):
        heard.append((len(samples), float(np.abs(samples).max()) > 0.1))
        return [Word("hi", 0.25, 0.5)]

    problems = write_transcripts(clips, tmp_path, recognise, silent)
    assert heard == [(8000, False), (16000, True)]  # in the order of the file: silent, then loud from its middle on
    assert [(p.where, p.why) for p in problems] == [("joy/a-9", "not transcribed: a.mp3 holds no audio in the part")]
    (word,) = read_transcript(tmp_path / "srt/joy/a-2.5.srt", "k")[0]
    assert (word.start, word.end) == (2.75, 3.0)
    write(tmp_path / "m.csv", "label,clip,audio,start,end", "joy,a-2.5,a.mp3,2.5,3.5", "rage,x,a.mp3,0,1")
    source = make_manifest_source(tmp_path / "m.csv", KNOWN)
    clip = locate_dataset(source, None, 1).listing.available[0]
    (item,) = prepare_clips([clip], FORM, tmp_path / "out", silent)
    assert read_clip_facts(item.path)["words"] == [["hi", 0.25, 0.5]]


def test_the_page_shows_a_part_by_a_frame_of_the_part(tmp_path):
    write_numbered(tmp_path / "a.mp4", "libx264", seconds=2, key_frames=1000)  # frame n is of grey level n
    write_frames(tmp_path / "f", 2.0)
    rows = ["joy,a.mp4,,1.2,1.4", "joy,a.mp4,,0.1,0.3", "rage,,f,1.2,1.4", "rage,,f,0.1,0.3"]
    source = make_manifest_source(write(tmp_path / "m.csv", "label,video,frames,start,end", *rows), KNOWN)
    made = summarise_dataset(locate_dataset(source, None, 1), FORM, tmp_path / "out", silent)
    assert [round(clip.seconds, 3) for clip in made.summary.clips] == [0.2] * 4
    expected = {"joy": [1.3 * 25, 0.2 * 25], "rage": [brightness(1.3), brightness(0.2)]}
    for label, pictures in read_thumbnails(made, silent).items():
        shades = [np.asarray(Image.open(BytesIO(picture.jpeg))).mean() for picture in pictures]
        assert np.abs(np.subtract(shades, expected[label])).max() < 8, label
