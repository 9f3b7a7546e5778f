"""Rules for clip names: groups, held-out sessions, splits without lists; and the shipped lists."""

from collections import Counter
from dataclasses import replace

import pytest

from bench.errors import DataError
from datasets.catalog.ekman6 import INFO
from datasets.index import index_tree, make_tree_source, read_listed_clips
from datasets.rows import NamingRules
from datasets.summary import locate_dataset

SESSIONS = replace(INFO, name="sessions", group="session", folds=(1, 2, 3, 4, 5), fold="session left out")
BY_SESSION = NamingRules(
    group=lambda clip: clip.partition("_")[0], test_fold=lambda clip: int(clip[1]) if clip[1:2] in "12345" else None
)


def tree(root, *keys):
    """Write empty clips of these keys, since indexing opens none."""
    for key in keys:
        path = root / "video" / f"{key}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def lists(root, train, test, number=1):
    (root / f"trainlist{number:02d}.txt").write_text("\n".join(train) + "\n")
    (root / f"testlist{number:02d}.txt").write_text("\n".join(test) + "\n")


def test_a_session_is_left_out_and_the_next_is_for_validation(tmp_path):
    keys = [f"{label}/s{session}_{n}" for label in INFO.classes for session in range(1, 6) for n in range(2)]
    tree(tmp_path, *keys, "joy/unknown")
    for fold in SESSIONS.folds:
        index = index_tree(tmp_path, SESSIONS, BY_SESSION, fold)
        splits = {clip.key: clip.split for clip in index.available}
        assert {key for key, split in splits.items() if split == "test"} == {k for k in keys if f"/s{fold}_" in k}
        assert {key for key, split in splits.items() if split == "val"} == {
            k for k in keys if f"/s{fold % 5 + 1}_" in k
        }
        assert Counter(splits.values()) == {"train": 36, "val": 12, "test": 12}
        assert [(p.what, p.where) for p in index.issues] == [("subset", "joy/unknown")]
        assert {clip.group for clip in index.available} == {f"s{n}" for n in range(1, 6)}


def test_whatever_split_a_list_names_the_session_decides(tmp_path):
    keys = [f"{label}/s{session}_0" for label in INFO.classes for session in range(1, 6)]
    tree(tmp_path, *keys, "joy/s1_more")
    lists(tmp_path, keys[:20], keys[15:])
    index = index_tree(tmp_path, SESSIONS, BY_SESSION, 2)
    assert len(index.available) == 30 and {c.key for c in index.available if c.split == "test"} == {
        k for k in keys if "/s2" in k
    }
    assert [(p.what, p.where) for p in index.issues] == [("unlisted", "joy/s1_more")]


def test_a_group_in_both_lists_stays_in_test_only(tmp_path):
    rules = NamingRules(group=lambda clip: clip.partition("_")[0])
    lists(tmp_path, ["joy/a_1", "joy/b_1", "fear/a_2"], ["fear/b_2"])
    rows, problems = read_listed_clips(tmp_path, INFO, rules, 0)
    assert {row.key for row in rows} == {"joy/a_1", "fear/a_2", "fear/b_2"}
    assert [(p.what, p.where) for p in problems] == [("leak", "joy/b_1")] and "group 'b'" in problems[0].why
    assert {row.key: row.group for row in rows}["joy/a_1"] == "a"


def test_guessed_groups_are_dropped_if_the_lists_split_them(tmp_path):
    rules = NamingRules(group=lambda clip: clip.partition("_")[0], certain=False)
    lists(tmp_path, ["joy/a_1", "joy/b_1", "fear/a_2"], ["fear/b_2"])
    rows, problems = read_listed_clips(tmp_path, INFO, rules, 0)
    assert len(rows) == 4 and all(row.group == row.key for row in rows)
    assert [p.what for p in problems] == ["straddles"] and "1 of 2 groups" in problems[0].why
    lists(tmp_path, ["joy/a_1", "fear/a_2"], ["joy/b_1", "fear/b_2"])
    rows, problems = read_listed_clips(tmp_path, INFO, rules, 0)
    assert {row.group for row in rows} == {"a", "b"} and not problems


def test_without_a_list_the_names_may_contain_the_split(tmp_path):
    card = replace(INFO, name="unlisted")  # a name without a shipped list
    rules = NamingRules(split=lambda clip: {"t": "train", "e": "test"}.get(clip[0]))
    tree(tmp_path, "joy/t1", "joy/e1", "fear/t2", "fear/x1")
    index = index_tree(tmp_path, card, rules, 0)
    assert {clip.key: clip.split for clip in index.available} == {
        "joy/t1": "train",
        "joy/e1": "test",
        "fear/t2": "train",
    }
    assert ("subset", "fear/x1") in {(p.what, p.where) for p in index.issues}


def test_each_fold_reads_its_own_lists_and_names_missing_ones(tmp_path):
    card = replace(INFO, name="ten", folds=tuple(range(1, 11)), fold="official list")
    keys = [f"{label}/c{n}" for label in INFO.classes for n in range(2)]
    tree(tmp_path, *keys)
    lists(tmp_path, keys[::2], keys[1::2], 1)
    lists(tmp_path, keys[1::2], keys[::2], 3)
    one, three = (locate_dataset(make_tree_source(card, NamingRules()), tmp_path, fold).listing for fold in (1, 3))
    assert {c.key for c in one.available if c.split == "test"} == {c.key for c in three.available if c.split == "train"}
    with pytest.raises(DataError, match=r"no lists of Ekman-6 for --fold 2; add trainlist02\.txt and testlist02\.txt"):
        locate_dataset(make_tree_source(card, NamingRules()), tmp_path, 2)


def test_ten_thousand_clips_are_indexed_with_every_problem_by_name(tmp_path):
    keys = [f"{INFO.classes[n % 6]}/c{n:05d}" for n in range(10_000)]
    tree(tmp_path, *keys[:-50], *(f"joy/extra{n}" for n in range(20)))
    lists(tmp_path, keys[:8000], keys[8000:])
    index = index_tree(tmp_path, INFO, NamingRules(), 0)
    assert len(index.listed) == 10_000 and len(index.available) == 9_950
    assert Counter(p.what for p in index.issues) == {"missing": 50, "unlisted": 20}
    assert {p.where for p in index.issues if p.what == "missing"} == set(keys[-50:])
