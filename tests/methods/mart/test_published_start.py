"""MART loads and freezes published weights as MBT does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.rng import RngTree
from bench.stages import fit_alone
from methods.mart.config import MART
from methods.mbt.model import Mbt
from methods.mbt.pretrained import load_pretrained
from tests.conftest import Quiet
from tests.methods.mart.toys import CARD, SMALL, spoken_clips
from tests.methods.published import Tensors, ast, authors, videomae, write
from tests.toys import make_context

FILES = {
    "weights_video": videomae(width=16),
    "weights_audio": ast(width=16),
    "weights_all": authors((2, 8), width=16),
}


def fitted(folder: Path, quiet: Quiet, **values: object) -> Tensors:
    folder.mkdir()
    config = SMALL.override({"pretrain_epochs": 1, **values})
    sets = {"train": spoken_clips("train", 2), "val": spoken_clips("val", 2)}
    return fit_alone(MART, make_context(quiet, folder, config, info=CARD, rng=RngTree(4), **sets)).state_dict()


@pytest.mark.parametrize("field", FILES)
def test_each_file_changes_the_finished_predictor_and_so_does_what_is_frozen_of_it(
    field: str, tmp_path: Path, quiet: Quiet
) -> None:
    file = str(write(tmp_path / "file.pth", FILES[field]))
    plain, loaded = fitted(tmp_path / "plain", quiet), fitted(tmp_path / "loaded", quiet, **{field: file})
    assert quiet.notices[0].startswith(f"{field}: ")
    name = "mbt.video_norm.weight" if field == "weights_video" else "mbt.audio_norm.weight"
    assert not torch.allclose(plain[name], loaded[name], atol=1e-2)
    thawed = fitted(tmp_path / "thawed", quiet, **{field: file, "freeze_audio": 0})
    same = torch.equal(thawed["mbt.audio_tokens.position"], loaded["mbt.audio_tokens.position"])
    assert same == (field == "weights_video")


def test_neither_stage_moves_what_is_frozen(tmp_path: Path, quiet: Quiet) -> None:
    file = write(tmp_path / "all.pth", FILES["weights_all"])
    values = {"weights_all": str(file), "freeze_audio": 1}
    state = fitted(tmp_path / "run", quiet, **values)
    start = Mbt(SMALL, 3, RngTree(0))
    load_pretrained(start, SMALL.override(values), quiet.notify)
    moved = {name for name, value in start.state_dict().items() if not torch.equal(state[f"mbt.{name}"], value)}
    assert {"video_blocks.0.attn.qkv.weight", "audio_blocks.1.attn.qkv.weight"} <= moved
    assert not any(name.startswith(("audio_tokens.", "audio_blocks.0.")) for name in moved)
