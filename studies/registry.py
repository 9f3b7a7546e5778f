"""The studies that can be run by name."""

from __future__ import annotations

from studies.ablation import ABLATION
from studies.comparison import COMPARISON
from studies.masking import MASKING
from studies.modalities import MODALITIES
from studies.optimism import OPTIMISM
from studies.study import Study
from studies.target import TARGET
from studies.verification import VERIFICATION

PAPER: tuple[Study, ...] = (COMPARISON, ABLATION, MASKING, TARGET, VERIFICATION, MODALITIES)
# name -> its studies; `paper` is all studies of the paper at once, each run made once
STUDIES: dict[str, tuple[Study, ...]] = {study.name: (study,) for study in (*PAPER, OPTIMISM)} | {"paper": PAPER}
