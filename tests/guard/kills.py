"""Guard of robustness: a command killed at random moments still finishes correctly when it is given again.

A round starts a command on a folder without databases, kills it or some of its processes several times, then runs it to
the end. The folder of a round with faults is not deleted.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.guard.table import Check, say
from tests.studies.work.commands import TOY, Command, Commands, check_runs, check_search, kill

PART = "kills"
SEEDS, TRIALS, KILLS = 2, 4, 4  # per round: runs, trials of a search, and at most so many kills
EARLY, BIRTH, LATE = 1.0, 0.8, 8.0  # seconds after the start, after a new database, after the start (any moment)
PATIENCE = 240.0  # timeout in seconds of a command that runs to the end
START = 30.0  # timeout in seconds for workers or a new database to appear
VICTIMS = {"runs": ("command", "tree"), "search": ("command", "tree", "worker", "workers"), "sync": ("command", "tree")}
PLAIN = (*TOY, "--seeds", str(SEEDS))
WORDS: dict[str, tuple[str, ...]] = {
    "runs": PLAIN,
    "search": (*PLAIN, "--workers", "2", "--trials", str(TRIALS)),
    "sync": ("sync",),
}
"""Kind of a round -> arguments of the killed command."""


@dataclass
class Round:
    """Kills and faults of a round."""

    kind: str
    kills: list[str] = field(default_factory=list)  # the victim and the seconds since the start
    faults: list[str] = field(default_factory=list)


def check_kills(minutes: float, seed: int) -> list[Check]:
    """Start rounds of alternating kinds for some minutes; return one row of the table per kind."""
    place, end, rounds = Path(tempfile.mkdtemp(prefix="guard-kills-")), time.monotonic() + 60 * minutes, list[Round]()
    spent = Counter[str]()
    say(f"{PART}: seed {seed}, {minutes:g} minutes, folders in {place}")
    while time.monotonic() < end:
        kind = list(WORDS)[len(rounds) % len(WORDS)]
        since = time.monotonic()
        rounds.append(run_round(kind, place / f"round-{len(rounds)}", random.Random(f"{seed}/{len(rounds)}")))
        spent[kind] += round(time.monotonic() - since)
        say(f"{PART}: round {len(rounds) - 1}, {kind}: {', '.join(rounds[-1].kills)}: {rounds[-1].faults or 'ok'}")
    if not any(finished.faults for finished in rounds):
        shutil.rmtree(place)
    return [_summary(kind, rounds, spent[kind], seed) for kind in WORDS]


def run_round(kind: str, folder: Path, dice: random.Random) -> Round:
    """Kill a command several times, run it to the end, and check the results folder."""
    done, results = Round(kind), folder / "results"
    results.mkdir(parents=True)
    commands = Commands(folder)
    try:
        if kind == "sync":
            make_records(commands, results)
        for _ in range(dice.randint(1, KILLS)):
            command = commands.start(results, *WORDS[kind])
            done.kills.append(torment(command, results, kind, dice))
        done.faults += look(commands, results, kind)
    except Exception as error:  # of the round itself, e.g. a process that survives its kill
        done.faults.append(f"{type(error).__name__}: {_line(str(error))}")
    finally:
        commands.end()
    if done.faults:
        done.faults = [f"{fault} (folder {folder})" for fault in done.faults]
    else:
        shutil.rmtree(folder)
    return done


def make_records(commands: Commands, results: Path) -> None:
    """Finish runs and delete their MLflow database, so that `sync` has to publish them to a new one."""
    commands.start(results, *PLAIN).ends(0, PATIENCE)
    for left in [*results.glob("mlflow.*"), *results.glob("runs/*/mlflow.json")]:
        left.unlink()
    shutil.rmtree(results / "artifacts", ignore_errors=True)


def torment(command: Command, results: Path, kind: str, dice: random.Random) -> str:
    """Kill a command, its workers or its process tree at a random moment; return what was killed.

    A third of the moments are in the first second, a third right after a new database appears. Workers are killed once
    they exist; the command then continues and is killed within 3 seconds.
    """
    since, victim = time.monotonic(), dice.choice(VICTIMS[kind])
    moment = dice.choice(("beginning", "birth", "any"))
    before = set(results.glob("*.db"))
    if victim in ("worker", "workers"):
        wait(command, START, lambda: bool(command.workers()))
    elif moment == "birth":
        wait(command, START, lambda: bool(set(results.glob("*.db")) - before))
    wait(command, dice.uniform(0, {"beginning": EARLY, "birth": BIRTH, "any": LATE}[moment]))
    new = sorted(path.name for path in set(results.glob("*.db")) - before)
    report = f"{victim} after {time.monotonic() - since:.1f} s"
    report += f" (new: {', '.join(new)})" if new else ""
    if command.process.poll() is not None:
        return f"nothing (it ended within {time.monotonic() - since:.1f} s)"
    if victim in ("worker", "workers"):
        workers = command.workers()
        for worker in workers if victim == "workers" else dice.sample(workers, min(1, len(workers))):
            kill(worker)
        report += f" ({len(workers)} alive)"
        wait(command, dice.uniform(0, 3))
    victims = command.family() if victim == "tree" else []
    command.process.kill()
    for process in victims:
        kill(process)
    command.process.wait()
    command.is_gone()
    return report


def wait(command: Command, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
    """Wait until the time is over, `until` returns True, or the command ends."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and command.process.poll() is None and not until():
        time.sleep(0.01)


def look(commands: Commands, results: Path, kind: str) -> Iterator[str]:
    """Run the command to the end and yield the faults of its results folder."""
    yield from finish(commands, results, *WORDS[kind])
    if kind == "search":
        yield from broken("check_search", lambda: check_search(results, TRIALS))
    yield from broken("check_runs", lambda: check_runs(results, SEEDS))
    yield from finish(commands, results, "list")
    out = results / "reported"
    yield from finish(commands, results, "report", "--runs", "dataset=toy", "--out", str(out))
    yield from databases(results)
    yield from leftovers(results)


def finish(commands: Commands, results: Path, *words: str) -> Iterator[str]:
    """Run a command to the end; yield a fault if it fails, leaves processes or takes too long."""
    command = commands.start(results, *words)
    try:
        command.ends(0, PATIENCE)
    except AssertionError:
        code = command.process.returncode
        yield f"`{' '.join(words)}` ended with {code}, not 0, or left processes: {_line(command.output())}"
    except subprocess.TimeoutExpired:
        yield f"`{' '.join(words)}` did not end within {PATIENCE:g} s: {_line(command.output())}"


def broken(name: str, check: Callable[[], None]) -> Iterator[str]:
    """Yield the failure of a check that the tests define."""
    try:
        check()
    except Exception as error:  # an assertion, or a database that cannot be opened
        place = traceback.extract_tb(error.__traceback__)[-1]
        yield f"{name}: {type(error).__name__}: {_line(str(error)) or place.line}"


def databases(results: Path) -> Iterator[str]:
    """Yield the faults that SQLite's integrity check finds in the databases."""
    for path in sorted(results.glob("*.db")):
        try:
            with closing(sqlite3.connect(path)) as database:
                found = database.execute("PRAGMA integrity_check").fetchall()
        except sqlite3.Error as error:
            found = [(str(error),)]
        if found != [("ok",)]:
            yield f"{path.name}: {_line(str(found))}"


def leftovers(results: Path) -> Iterator[str]:
    """Yield half-written files, and checkpoints of finished runs, that were not deleted."""
    partial = sorted(str(path.relative_to(results)) for path in results.rglob(".*") if "reported" not in path.parts)
    if partial:
        yield f"half-written files remain: {', '.join(partial[:5])}{' and more' if len(partial) > 5 else ''}"
    resumable = [path.parent for path in results.glob("runs/*/checkpoints") if (path.parent / "record.json").exists()]
    if resumable:
        yield f"checkpoints of finished runs remain: {', '.join(path.name for path in resumable)}"


def _summary(kind: str, rounds: list[Round], seconds: int, seed: int) -> Check:
    matching = [finished for finished in rounds if finished.kind == kind]
    check = Check(PART, f"{kind}, seed {seed}: rounds without faults", seconds=seconds)
    killed = sum(not report.startswith("nothing") for finished in matching for report in finished.kills)
    check.found = f"{sum(not finished.faults for finished in matching)}, {killed} kills"
    check.expected = str(len(matching))
    for finished in matching:
        check.faults += [f"killed {', '.join(finished.kills)}: {fault}" for fault in finished.faults]
    return check


def _line(text: str) -> str:
    """Return the last 400 characters of a text on one line."""
    return " ".join(text.split())[-400:]
