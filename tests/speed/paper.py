"""Benchmark of training steps at the paper's size: share of the matrix product's rate, memory, and scaling."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.speed.steps import CUDA, Timed

ROOT = Path(__file__).resolve().parents[2]
SHORT = "segments=2"  # for measurements of scaling only


def timed(kind: str, steps: int, *settings: str, progress: float = 0.5, warm: int = 1) -> Timed:
    """Time a kind of step in a child process."""
    command = [sys.executable, "-m", "tests.speed.steps", kind, "--steps", str(steps), "--warm", str(warm)]
    command += ["--progress", str(progress), *(word for setting in settings for word in ("--set", setting))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return Timed(**json.loads(done.stdout.splitlines()[-1]))


def show(name: str, timed: Timed, target: str = "") -> None:
    """Print one line of figures."""
    spread = f"{min(timed.shares):.1%} to {max(timed.shares):.1%}"
    rate = f"{timed.flop / timed.step / 1e9:.0f} of {timed.matmul / 1e9:.0f} GFLOP/s"
    print(
        f"{name:<34}{timed.step:7.2f} s  {timed.flop / 1e12:5.2f} TFLOP  {timed.share:6.1%} of the product's rate "
        f"({spread} in {len(timed.shares)}; {rate}), peak {timed.peak_gb:.1f} GB  {target}".rstrip(),
        flush=True,
    )


def main() -> None:
    """Print each figure on a line; on a GPU in bf16."""
    print(f"one clip of 12 segments, {'bf16, GPU' if CUDA else 'float32, CPU'}, optimiser step included")
    full = timed("mart", 5)
    show("mart, pre-training", full, "(target: 65 % on a CPU, 40 % on a GPU, under 11 GB)")
    own = sum(full.spent.values()) / full.seconds[-1]
    parts = ", ".join(f"{name.strip('_')} {1e3 * seconds:.0f} ms" for name, seconds in full.spent.items())
    print(f"  scores, cues, verification, masks {own:6.2%} of the step  (target: under 5 %; {parts})")
    plain = timed("plain", 2)
    show("plain timm blocks, same passes", plain)
    print(f"  speed of mart over them, per FLOP {plain.step / plain.flop / (full.step / full.flop):6.2f} times as fast")
    show("mart, recompute=true", timed("mart", 1, "recompute=true"), "(target: under 6 GB)")
    show("mart-released, pre-training", timed("released", 1))
    show("fine-tuning", timed("finetune", 1))
    for segments in (4, 8, 16):
        result = timed("mart", 1, f"segments={segments}")
        show(
            f"mart, S = {segments}",
            result,
            f"{result.step / segments:.2f} s per segment (S = 12: {full.step / 12:.2f})",
        )
    base = 0.0
    for percent in (10, 50, 90):
        ratio = percent / 100
        result = timed("mart", 1, SHORT, f"mask_from={ratio}", f"mask_to={ratio}")
        base = base or result.step
        show(f"mart, S = 2, {percent} % masked", result, f"{result.step / base:.2f} of the seconds at 10 %")
