"""Training steps at the paper's size: their share of the product's rate, memory, and growth with the work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.speed.steps import CUDA, Timed

ROOT = Path(__file__).resolve().parents[2]
SHORT = "segments=2"  # where only the growth is looked at


def timed(kind: str, steps: int, *settings: str, progress: float = 0.5, warm: int = 1) -> Timed:
    """A kind of step in a process of its own."""
    words = [sys.executable, "-m", "tests.speed.steps", kind, "--steps", str(steps), "--warm", str(warm)]
    words += ["--progress", str(progress), *(word for setting in settings for word in ("--set", setting))]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if told.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{told.stderr}")
    return Timed(**json.loads(told.stdout.splitlines()[-1]))


def show(name: str, told: Timed, wanted: str = "") -> None:
    """One line of figures."""
    spread = f"{min(told.shares):.1%} to {max(told.shares):.1%}"
    rate = f"{told.flop / told.step / 1e9:.0f} of {told.matmul / 1e9:.0f} GFLOP/s"
    print(
        f"{name:<34}{told.step:7.2f} s  {told.flop / 1e12:5.2f} TFLOP  {told.share:6.1%} of the product's rate "
        f"({spread} in {len(told.shares)}; {rate}), peak {told.peak_gb:.1f} GB  {wanted}".rstrip(),
        flush=True,
    )


def main() -> None:
    """Print every figure on a line of its own; on a GPU in bf16."""
    print(f"one clip of 12 segments, {'bf16, GPU' if CUDA else 'float32, CPU'}, the optimiser's step included")
    full = timed("mart", 5)
    show("mart, pre-training", full, "(wanted: 65 % on a CPU, 40 % on a GPU, under 11 GB)")
    own = sum(full.spent.values()) / full.seconds[-1]
    parts = ", ".join(f"{name.strip('_')} {1e3 * seconds:.0f} ms" for name, seconds in full.spent.items())
    print(f"  scores, cues, verification, masks {own:6.2%} of the step  (wanted: under 5 %; {parts})")
    plain = timed("plain", 2)
    show("timm's plain blocks, same passes", plain)
    print(f"  ours against them, per FLOP       {plain.step / plain.flop / (full.step / full.flop):6.2f} times as fast")
    show("mart, recompute=true", timed("mart", 1, "recompute=true"), "(wanted: under 6 GB)")
    show("mart-released, pre-training", timed("released", 1))
    show("fine-tuning", timed("finetune", 1))
    for segments in (4, 8, 16):
        told = timed("mart", 1, f"segments={segments}")
        show(f"mart, S = {segments}", told, f"{told.step / segments:.2f} s a segment (S = 12: {full.step / 12:.2f})")
    base = 0.0
    for percent in (10, 50, 90):
        ratio = percent / 100
        told = timed("mart", 1, SHORT, f"mask_from={ratio}", f"mask_to={ratio}")
        base = base or told.step
        show(f"mart, S = 2, {percent} % hidden", told, f"{told.step / base:.2f} of the seconds at 10 %")
