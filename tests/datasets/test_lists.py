"""Lists: rows with and without class numbers, annotation files, clips listed twice or in two classes."""

import json
from dataclasses import replace

import pytest

from bench.errors import DataError
from bench.tasks import Classification
from datasets.catalog.ekman6 import INFO
from datasets.index import read_listed_clips
from datasets.rows import NamingRules, assign_folds
from tests.datasets.trees import write_lists

VE8 = replace(  # under a name without a shipped list
    INFO,
    name="eight",
    task=Classification(
        ("Anger", "Anticipation", "Disgust", "Fear", "Joy", "Sadness", "Surprise", "Trust"),
        (-1, 1, -1, -1, 1, -1, 1, 1),
    ),
)


@pytest.fixture
def tree(tmp_path):
    """Write the lists of two clips of each class, one of them for test."""
    write_lists(tmp_path, INFO, [0], [1])
    return tmp_path


def add(path, line):
    path.write_text(path.read_text() + line + "\n")


def keys(rows, split="train"):
    return [row.key for row in rows if row.split == split]


def write_train(root, *lines):
    (root / "trainlist01.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_repeated_row_is_used_once_and_a_leak_stays_in_test_only(tree):
    add(tree / "trainlist01.txt", "joy/c0 4\nfear/c1 3")
    rows, problems = read_listed_clips(tree, INFO, NamingRules(), 0)
    assert {(p.what, p.where) for p in problems} == {("duplicate", "joy/c0"), ("leak", "fear/c1")}
    assert len(rows) == 12 and [row.split for row in rows if row.key == "fear/c1"] == ["test"]


@pytest.mark.parametrize("number", ["", " 4", " 3"], ids=["none", "from 1", "from 0"])
def test_the_number_of_its_class_is_no_part_of_a_clips_name(tree, number):
    write_train(tree, f"joy/my clip{number}")
    assert keys(read_listed_clips(tree, INFO, NamingRules(), 0)[0]) == ["joy/my clip"]


def test_another_number_is_part_of_the_name(tree):
    write_train(tree, "joy/my clip 13", "joy/my clip 14", "joy/my clip 04", "joy/7")
    rows, problems = read_listed_clips(tree, INFO, NamingRules(), 0)
    assert keys(rows) == ["joy/my clip 13", "joy/my clip 14", "joy/my clip 04", "joy/7"] and not problems


def test_clips_counted_in_their_names_keep_their_numbers(tree):
    names = [f"{label}/clip {number}" for label in INFO.classes for number in range(5)]
    write_train(tree, *names)
    rows, problems = read_listed_clips(tree, INFO, NamingRules(), 0)
    assert keys(rows) == names and not problems


def test_a_class_in_another_case_is_taken_for_the_class(tree):
    write_train(tree, "Joy/c0 4", "FEAR/c0 3")
    assert keys(read_listed_clips(tree, INFO, NamingRules(), 0)[0]) == ["joy/c0", "fear/c0"]


def test_slashes_and_dots_too_many_are_no_part_of_a_key(tree):
    write_train(tree, "joy//my clip/", "./joy/other", "joy/.mp4")
    assert keys(read_listed_clips(tree, INFO, NamingRules(), 0)[0]) == ["joy/my clip", "joy/other", "joy/.mp4"]
    annotate(tree, {"c0/": {"subset": "training", "annotations": {"label": "joy"}}})
    assert keys(read_listed_clips(tree, INFO, NamingRules(), 0)[0]) == ["joy/c0"]


def test_a_list_with_a_byte_order_mark_is_read(tree):
    (tree / "trainlist01.txt").write_bytes(b"\xef\xbb\xbfjoy/c0 4\r\nfear/c0 3\r\n")
    assert keys(read_listed_clips(tree, INFO, NamingRules(), 0)[0]) == ["joy/c0", "fear/c0"]


def test_a_list_that_cannot_be_read_is_an_error_of_one_line(tree):
    (tree / "trainlist01.txt").write_bytes("joy/café 4\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        read_listed_clips(tree, INFO, NamingRules(), 0)
    (tree / "trainlist01.txt").unlink()
    (tree / "trainlist01.txt").mkdir()
    with pytest.raises(DataError, match=r"cannot read .*trainlist01\.txt"):
        read_listed_clips(tree, INFO, NamingRules(), 0)


def many(*more):
    """Return the keys of forty clips with different names, and more."""
    return [*(f"{name}/{name}{n}" for name in ("joy", "fear") for n in range(20)), *more]


def test_a_name_in_two_classes_is_reported_and_never_split(tree):
    write_train(tree, *many("joy/odd", "fear/odd"))
    (tree / "testlist01.txt").write_text("joy/other\n")
    rows, problems = read_listed_clips(tree, INFO, NamingRules(), 0)
    assert [(p.what, p.where) for p in problems] == [("two classes", "odd")] and "fear and joy" in problems[0].why
    assert {row.key: row.group for row in rows if row.key.endswith("odd")} == {"joy/odd": "odd", "fear/odd": "odd"}
    assert all(row.group == row.key for row in rows if not row.key.endswith("odd"))
    write_train(tree, *many("joy/odd"))
    (tree / "testlist01.txt").write_text("joy/other\nfear/odd\n")
    rows, problems = read_listed_clips(tree, INFO, NamingRules(), 0)
    assert [(p.what, p.where) for p in problems] == [("two classes", "odd"), ("leak", "joy/odd")]
    assert "joy/odd" not in {row.key for row in rows} and keys(rows, "test") == ["joy/other", "fear/odd"]


def test_names_that_every_class_reuses_mean_nothing(tree):
    rows, problems = read_listed_clips(tree, INFO, NamingRules(), 0)  # c0 and c1 in every class
    assert not problems and all(row.group == row.key for row in rows)


def test_the_real_clip_under_two_classes_of_videoemotion8_keeps_both_rows_in_one_fold(shared, tmp_path):
    for name in ("trainlist01.txt", "testlist01.txt"):
        (tmp_path / name).write_bytes((shared / "ve8_ek6_lists" / "mart_ve8" / name).read_bytes())
    rows, problems = read_listed_clips(tmp_path, VE8, NamingRules(), 1)
    assert [len(keys(rows, split)) for split in ("train", "test")] == [732, 367]
    twin = "3527012618_7ceb8fb27b_700"
    assert [(p.what, p.where) for p in problems] == [("two classes", twin)]
    assert sorted(row.key for row in rows if row.group == twin) == [f"Disgust/{twin}", f"Fear/{twin}"]
    assert assign_folds(rows, VE8.name)[twin] in range(5)


def test_one_list_without_the_other_is_an_error(tree):
    (tree / "testlist01.txt").unlink()
    with pytest.raises(DataError, match=r"testlist01\.txt is missing next to trainlist01\.txt"):
        read_listed_clips(tree, INFO, NamingRules(), 0)


def annotate(tree, database):
    (tree / "trainlist01.txt").unlink()
    (tree / "testlist01.txt").unlink()
    (tree / "ekman6.json").write_text(json.dumps({"labels": list(INFO.classes), "database": database}))


def test_an_annotation_file_replaces_lists(tree):
    annotate(
        tree,
        {
            "c0": {"subset": "training", "annotations": {"label": "joy"}},
            "c1.mp4": {"subset": "validation", "annotations": {"label": "joy"}},
            "c2": {"subset": "holdout", "annotations": {"label": "fear"}},
        },
    )
    rows, problems = read_listed_clips(tree, INFO, NamingRules(), 0)
    assert [(row.key, row.target, row.split) for row in rows] == [("joy/c0", 3, "train"), ("joy/c1", 3, "test")]
    assert [(p.what, p.where) for p in problems] == [("subset", "fear/c2"), ("bare names", "ekman6.json")]
    assert "holdout" in problems[0].why


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("c0", {"subset": "training", "annotations": {"label": "joi"}}, "did you mean 'joy'"),
        ("../c0", {"subset": "training", "annotations": {"label": "joy"}}, "inside the data folder"),
        ("c0", {"subset": "training"}, "annotations.label"),
        ("c0", {"subset": ["training"], "annotations": {"label": "joy"}}, "must be text"),
        ("c0", {"subset": "training", "annotations": {"label": {"joy": 1}}}, "must be text"),
        ("c0", [], "subset or annotations.label is missing"),
    ],
)
def test_a_wrong_annotation_is_an_error_that_names_it(tree, name, entry, message):
    annotate(tree, {name: entry})
    with pytest.raises(DataError, match=message):
        read_listed_clips(tree, INFO, NamingRules(), 0)


def test_an_annotation_file_without_clips_by_name_is_a_clear_error(tree):
    annotate(tree, [])
    with pytest.raises(DataError, match='"database" must hold'):
        read_listed_clips(tree, INFO, NamingRules(), 0)
    (tree / "ekman6.json").unlink()
    (tree / "ekman6.json").mkdir()
    with pytest.raises(DataError, match="no lists of"):
        read_listed_clips(tree, VE8, NamingRules(), 0)
    assert len(read_listed_clips(tree, INFO, NamingRules(), 0)[0]) == 1637  # the shipped list


def test_the_real_lists_and_annotation_of_ekman6_name_the_same_clips(shared, tmp_path):
    source = shared / "ve8_ek6_lists" / "cten_ek6"
    for name in ("trainlist01.txt", "testlist01.txt"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    rows, problems = read_listed_clips(tmp_path, INFO, NamingRules(), 0)
    assert not problems and {row.target for row in rows} == set(range(6))
    assert [sum(row.split == split for row in rows) for split in ("train", "test")] == [819, 818]
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "ek6_01.json").write_bytes((source / "ek6_01.json").read_bytes())
    annotated, _ = read_listed_clips(tmp_path / "json", INFO, NamingRules(), 0)
    assert {(row.key, row.split) for row in annotated} == {(row.key, row.split) for row in rows}


def test_the_real_annotation_of_videoemotion8_is_keyed_by_bare_names_and_lacks_a_clip(shared, tmp_path):
    source = shared / "ve8_ek6_lists" / "mart_ve8"
    (tmp_path / "ve8_01.json").write_bytes((source / "ve8_01.json").read_bytes())
    annotated, problems = read_listed_clips(tmp_path, VE8, NamingRules(), 1)
    assert [p.what for p in problems] == ["bare names"] and "1098 clips" in problems[0].why
    for name in ("trainlist01.txt", "testlist01.txt"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    listed, _ = read_listed_clips(tmp_path, VE8, NamingRules(), 1)
    missing = {row.key for row in listed} - {row.key for row in annotated}
    assert len(listed) == 1099 and missing == {"Disgust/3527012618_7ceb8fb27b_700"}


def test_the_lists_that_come_with_the_program_are_the_real_ones(shared, tmp_path):
    from datasets.catalog.videoemotion8 import INFO as REAL

    source = shared / "ve8_ek6_lists" / "mart_ve8"
    shipped, issues = read_listed_clips(tmp_path, REAL, NamingRules(), 1)
    for name in ("trainlist01.txt", "testlist01.txt"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    assert read_listed_clips(tmp_path, REAL, NamingRules(), 1) == (shipped, issues) and len(shipped) == 1099


def test_a_name_listed_twice_in_an_annotation_keeps_both_of_its_classes(tree):
    annotate(tree, {f"{label}{n}": entry(label) for label in INFO.classes for n in range(10)})
    path = tree / "ekman6.json"
    more = '"odd": {"subset": "training", "annotations": {"label": "joy"}}, '
    path.write_text(path.read_text().replace('"anger0"', f'{more}{more.replace("joy", "fear")}{more}"anger0"'))
    rows, problems = read_listed_clips(tree, INFO, NamingRules(), 0)
    assert [row.key for row in rows[:2]] == ["joy/odd", "fear/odd"] and len(rows) == 62
    assert {(p.what, p.where) for p in problems} >= {("two classes", "odd"), ("duplicate", "joy/odd")}


def entry(label, subset="training"):
    return {"subset": subset, "annotations": {"label": label}}


def test_a_few_unknown_classes_of_an_annotation_lose_their_clips_and_many_are_an_error(tree):
    annotate(tree, {"c0": entry("joy"), "c1": entry("fear"), "c2": entry("frustration")})
    rows, problems = read_listed_clips(tree, INFO, NamingRules(), 0)
    assert [row.key for row in rows] == ["joy/c0", "fear/c1"] and ("label", "c2") in {
        (p.what, p.where) for p in problems
    }
    (tree / "ekman6.json").write_text(json.dumps({"database": {"c0": entry("Trust"), "c1": entry("Anticipation")}}))
    with pytest.raises(DataError, match="2 of 2 clips are of classes unknown to Ekman-6, first 'c0' of 'Trust'"):
        read_listed_clips(tree, INFO, NamingRules(), 0)


def test_an_annotation_may_key_its_clips_by_class_as_well(tree):
    annotate(tree, {"joy/c0": entry("joy"), "fear/c0": entry("fear", "validation")})
    rows, problems = read_listed_clips(tree, INFO, NamingRules(), 0)
    assert [(row.key, row.split) for row in rows] == [("joy/c0", "train"), ("fear/c0", "test")] and not problems


def test_validation_is_for_validation_where_another_subset_is_for_test(tree):
    annotate(tree, {"a": entry("joy"), "b": entry("joy", "validation"), "c": entry("joy", "testing")})
    assert [row.split for row in read_listed_clips(tree, INFO, NamingRules(), 0)[0]] == ["train", "val", "test"]


@pytest.mark.parametrize("text", ["{bad", '{"database": {}}', '{"database": []}'])
def test_a_broken_annotation_is_an_error_and_no_reason_to_take_another_list(tree, text):
    annotate(tree, {})
    (tree / "ekman6.json").write_text(text)
    with pytest.raises(DataError, match=r"ekman6\.json"):
        read_listed_clips(tree, INFO, NamingRules(), 0)
