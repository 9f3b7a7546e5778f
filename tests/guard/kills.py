"""Commands that are killed at random moments end as if nothing had been, from the first second on an empty folder on.

A round is a command that starts on a folder without databases, is killed again and again, wholly or in part, and then
is given once more and left to finish. Its folder is kept where something is wrong with it.
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
SEEDS, TRIALS, KILLS = 2, 4, 4  # of a round: runs, trials of a search, and kills at most
EARLY, BIRTH, LATE = 1.0, 0.8, 8.0  # seconds: of a beginning, of a database's making, of a command killed any time
PATIENCE = 240.0  # seconds for the last command of a round
START = 30.0  # seconds that a worker, or a database that is made, is waited for
VICTIMS = {"runs": ("command", "tree"), "search": ("command", "tree", "worker", "workers"), "sync": ("command", "tree")}
PLAIN = (*TOY, "--seeds", str(SEEDS))
WORDS: dict[str, tuple[str, ...]] = {
    "runs": PLAIN,
    "search": (*PLAIN, "--workers", "2", "--trials", str(TRIALS)),
    "sync": ("sync",),
}
"""Kind of a round -> the command that is killed."""


@dataclass
class Round:
    """What happened in a round."""

    kind: str
    kills: list[str] = field(default_factory=list)  # whom, and after how many seconds
    faults: list[str] = field(default_factory=list)


def check_kills(minutes: float, seed: int) -> list[Check]:
    """Start new rounds for so many minutes, the kinds in turn; a line of the table for each kind."""
    place, end, rounds = Path(tempfile.mkdtemp(prefix="guard-kills-")), time.monotonic() + 60 * minutes, list[Round]()
    spent = Counter[str]()
    say(f"{PART}: seed {seed}, {minutes:g} minutes, folders in {place}")
    while time.monotonic() < end:
        kind = list(WORDS)[len(rounds) % len(WORDS)]
        since = time.monotonic()
        rounds.append(run_round(kind, place / f"round-{len(rounds)}", random.Random(f"{seed}/{len(rounds)}")))
        spent[kind] += round(time.monotonic() - since)
        say(f"{PART}: round {len(rounds) - 1}, {kind}: {', '.join(rounds[-1].kills)}: {rounds[-1].faults or 'whole'}")
    if not any(one.faults for one in rounds):
        shutil.rmtree(place)
    return [_summary(kind, rounds, spent[kind], seed) for kind in WORDS]


def run_round(kind: str, folder: Path, dice: random.Random) -> Round:
    """Kill a command some times, let it finish, and look at what it left."""
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
    except Exception as error:  # of the storm itself: a command that outlives its kill, a folder that cannot be read
        done.faults.append(f"{type(error).__name__}: {_line(str(error))}")
    finally:
        commands.end()
    if done.faults:
        done.faults = [f"{fault} (folder {folder})" for fault in done.faults]
    else:
        shutil.rmtree(folder)
    return done


def make_records(commands: Commands, results: Path) -> None:
    """Finish runs, and take away the database that they were published to: `sync` brings them into a new one."""
    commands.start(results, *PLAIN).ends(0, PATIENCE)
    for left in [*results.glob("mlflow.*"), *results.glob("runs/*/mlflow.json")]:
        left.unlink()
    shutil.rmtree(results / "artifacts", ignore_errors=True)


def torment(command: Command, results: Path, kind: str, dice: random.Random) -> str:
    """Kill a command, its workers or all of it at a random moment; what was killed.

    A third of the moments are in the first second, a third while a database is made where none is there yet. Workers
    are killed as soon as there are some, or later; the command goes on, and is killed itself a little later.
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
    told = f"{victim} after {time.monotonic() - since:.1f} s"
    told += f" (new: {', '.join(new)})" if new else ""
    if command.process.poll() is not None:
        return f"nobody (it ended within {time.monotonic() - since:.1f} s)"
    if victim in ("worker", "workers"):
        workers = command.workers()
        for worker in workers if victim == "workers" else dice.sample(workers, min(1, len(workers))):
            kill(worker)
        told += f" ({len(workers)} there)"
        wait(command, dice.uniform(0, 3))
    victims = command.family() if victim == "tree" else []
    command.process.kill()
    for process in victims:
        kill(process)
    command.process.wait()
    command.is_gone()
    return told


def wait(command: Command, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
    """Wait so long, or until something holds or the command ends."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and command.process.poll() is None and not until():
        time.sleep(0.01)


def look(commands: Commands, results: Path, kind: str) -> Iterator[str]:
    """What is wrong after the command was given once more and left to finish."""
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
    """What is wrong with a command that is left to finish."""
    command = commands.start(results, *words)
    try:
        command.ends(0, PATIENCE)
    except AssertionError:
        code = command.process.returncode
        yield f"`{' '.join(words)}` ended with {code}, not 0, or left somebody: {_line(command.output())}"
    except subprocess.TimeoutExpired:
        yield f"`{' '.join(words)}` was not done after {PATIENCE:g} s: {_line(command.output())}"


def broken(name: str, check: Callable[[], None]) -> Iterator[str]:
    """What a check of the tests finds."""
    try:
        check()
    except Exception as error:  # an assertion, or a database that cannot be opened
        place = traceback.extract_tb(error.__traceback__)[-1]
        yield f"{name}: {type(error).__name__}: {_line(str(error)) or place.line}"


def databases(results: Path) -> Iterator[str]:
    """What SQLite finds wrong with a database."""
    for path in sorted(results.glob("*.db")):
        try:
            with closing(sqlite3.connect(path)) as database:
                found = database.execute("PRAGMA integrity_check").fetchall()
        except sqlite3.Error as error:
            found = [(str(error),)]
        if found != [("ok",)]:
            yield f"{path.name}: {_line(str(found))}"


def leftovers(results: Path) -> Iterator[str]:
    """What is half written, or only there to go on from, and was left."""
    half = sorted(str(path.relative_to(results)) for path in results.rglob(".*") if "reported" not in path.parts)
    if half:
        yield f"half-written files are left: {', '.join(half[:5])}{' and more' if len(half) > 5 else ''}"
    going = [path.parent for path in results.glob("runs/*/checkpoints") if (path.parent / "record.json").exists()]
    if going:
        yield f"checkpoints of finished runs are left: {', '.join(path.name for path in going)}"


def _summary(kind: str, rounds: list[Round], seconds: int, seed: int) -> Check:
    mine = [one for one in rounds if one.kind == kind]
    check = Check(PART, f"{kind}, seed {seed}: rounds that end whole", seconds=seconds)
    killed = sum(not told.startswith("nobody") for one in mine for told in one.kills)
    check.found = f"{sum(not one.faults for one in mine)}, {killed} kills"
    check.wanted = str(len(mine))
    for one in mine:
        check.faults += [f"killed {', '.join(one.kills)}: {fault}" for fault in one.faults]
    return check


def _line(text: str) -> str:
    """The end of a text on one line."""
    return " ".join(text.split())[-400:]
