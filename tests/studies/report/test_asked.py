"""What a study was asked for is kept beside the records, whoever notes it and however often."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bench.errors import StoreError
from studies.report.asked import note_asked, read_asked
from tests.conftest import ROOT

NONE = ()
BY_HAND = (("epochs", "3"), ("lr", "0.1"))


def test_a_study_that_was_never_asked_for_has_no_cells(tmp_path):
    assert read_asked(tmp_path, "ablation", "quick", NONE) == {}
    note_asked(tmp_path, "ablation", "quick", NONE, [("ekman6", 0, 0)])
    assert read_asked(tmp_path, "comparison", "quick", NONE) == {}


def test_what_is_asked_is_read_back_by_data_set(tmp_path):
    note_asked(tmp_path, "ablation", "quick", NONE, [("ekman6", 0, 1), ("ekman6", 0, 0), ("iemocap", 3, 0)])
    assert read_asked(tmp_path, "ablation", "quick", NONE) == {"ekman6": {(0, 0), (0, 1)}, "iemocap": {(3, 0)}}


def test_what_is_asked_later_is_added_and_nothing_is_there_twice(tmp_path):
    for seeds in (range(2), range(1, 4), range(2)):
        note_asked(tmp_path, "ablation", "quick", NONE, [("ekman6", 0, seed) for seed in seeds])
    assert read_asked(tmp_path, "ablation", "quick", NONE) == {"ekman6": {(0, seed) for seed in range(4)}}
    (told,) = json.loads((tmp_path / "studies" / "ablation.json").read_text())
    assert told["cells"] == [["ekman6", 0, seed] for seed in range(4)]


def test_presets_and_settings_are_asked_for_apart(tmp_path):
    note_asked(tmp_path, "ablation", "quick", NONE, [("ekman6", 0, 0)])
    note_asked(tmp_path, "ablation", "paper", NONE, [("ekman6", 0, 1)])
    note_asked(tmp_path, "ablation", "quick", BY_HAND, [("ekman6", 0, 2)])
    found = [read_asked(tmp_path, "ablation", *of) for of in (("quick", NONE), ("paper", NONE), ("quick", BY_HAND))]
    assert found == [{"ekman6": {(0, seed)}} for seed in range(3)]
    assert read_asked(tmp_path, "ablation", "paper", BY_HAND) == {}
    assert read_asked(tmp_path, "ablation", "quick", tuple(reversed(BY_HAND))) == found[2]


def test_what_was_asked_already_is_not_written_again(tmp_path):
    path = tmp_path / "studies" / "ablation.json"
    note_asked(tmp_path, "ablation", "quick", NONE, [("ekman6", 0, 0)])
    before = path.stat().st_ino
    note_asked(tmp_path, "ablation", "quick", NONE, [("ekman6", 0, 0)])
    assert path.stat().st_ino == before


def test_processes_that_note_at_once_lose_nothing(tmp_path):
    code = (
        "import sys; from pathlib import Path; from studies.report.asked import note_asked\n"
        "place, preset, fold = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])\n"
        "sys.stdin.read()\n"
        "for seed in range(25): note_asked(place, 'ablation', preset, (), [('ekman6', fold, seed)])"
    )
    going = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path, preset, str(fold)], cwd=ROOT, stdin=subprocess.PIPE)
        for fold, preset in enumerate(("quick", "quick", "paper"))
    ]
    for process in going:
        process.stdin.close()  # all of them start together
    assert [process.wait(60) for process in going] == [0, 0, 0]
    of_quick = {(fold, seed) for fold in (0, 1) for seed in range(25)}
    assert read_asked(tmp_path, "ablation", "quick", NONE) == {"ekman6": of_quick}
    assert read_asked(tmp_path, "ablation", "paper", NONE) == {"ekman6": {(2, seed) for seed in range(25)}}


BROKEN = {
    "cut off": b'[{"preset": "quick", "sett',
    "empty": b"",
    "no text": b"\xff\xfe\x00",
    "no list": b"3",
    "no dict in it": b"[3]",
    "no cells": b'[{"preset": "quick", "settings": {}}]',
    "no settings": b'[{"preset": "quick", "settings": [], "cells": []}]',
    "short cell": b'[{"preset": "quick", "settings": {}, "cells": [["ekman6", 0]]}]',
    "word for a seed": b'[{"preset": "quick", "settings": {}, "cells": [["ekman6", 0, "one"]]}]',
    "nothing for cells": b'[{"preset": "quick", "settings": {}, "cells": null}]',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_list_is_one_clear_line_and_stays_as_it_is(tmp_path, content):
    path = tmp_path / "studies" / "ablation.json"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StoreError) as told:
        read_asked(tmp_path, "ablation", "quick", NONE)
    with pytest.raises(StoreError):
        note_asked(tmp_path, "ablation", "quick", NONE, [("ekman6", 0, 0)])
    assert str(path) in str(told.value) and "move it away" in str(told.value) and "\n" not in str(told.value)
    assert path.read_bytes() == content
