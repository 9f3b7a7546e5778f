"""A piece of work that a process has taken: a trial of Optuna's that shows signs of life, and is finished once.

What is left behind by a process that died is found by the next one, marked, and queued again with the same values.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.provenance import is_alive, this_process
from bench.record import Kind
from studies.queue.storage import BEAT, Storage

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

EVERY = 2.0  # seconds between two looks for the dead, by one process
DEATHS = 10  # processes that may die over one piece of work before it counts as what kills them
CRASHES: tuple[Kind, ...] = ("other", "out of memory")
MOST_TRIES = 3  # of one configuration that crashes, by one command after the other
COMMAND, TRIES = "command", "tries"
DIED = "the process that ran it died"
DEATH = "deaths"
HOST, PROCESS, KIND, MESSAGE, RETRY = "host", "process", "kind", "message", "retry of"
_held: set[int] = set()  # Optuna's ids of the trials that this process works at


class Claim:
    """Work under way. It is finished by exactly one of done, pruned, failed and give_back."""

    def __init__(self, storage: Storage, study: Study, trial: Trial) -> None:
        self.storage, self.study, self.trial = storage, study, trial
        self.params: dict[str, Any] = dict(trial.params)
        self._told: set[int] = set()
        _held.add(trial._trial_id)
        with suppress(Exception):  # the first sign of life: without one it would never count as dead elsewhere
            self._beat()
        self._stop = threading.Event()
        self._beats = threading.Thread(target=self._keep_beating, daemon=True, name="signs of life")
        self._beats.start()

    @property
    def number(self) -> int:
        """Of the trial in its study."""
        return self.trial.number

    def report(self, value: float, step: int) -> bool:
        """Tell a value of an epoch or a seed once; whether the pruner gives the trial up."""
        if step in self._told:
            return False
        self._told.add(step)
        with _unless_taken_away():
            self.storage.patient(lambda: self.trial.report(value, step))
            return self.storage.patient(self.trial.should_prune)
        return False

    def note(self, **attributes: object) -> None:
        """Keep facts with the trial."""
        for name, value in attributes.items():
            with _unless_taken_away():
                self.storage.patient(partial(self.trial.set_user_attr, name, value))

    def done(self, value: float) -> None:
        """Finished, with a score."""
        self._tell("COMPLETE", value)

    def pruned(self) -> None:
        """Given up by the search."""
        self._tell("PRUNED")

    def failed(self, kind: Kind, message: str) -> None:
        """Ended without a score."""
        self.note(**{KIND: kind, MESSAGE: message[:2000]})
        self._tell("FAIL")

    def give_back(self) -> None:
        """Interrupted: somebody else, or the next command, runs it again with the same values."""
        self.storage.alone(lambda: requeue(self.study, self.trial.number))
        self._end()

    def _tell(self, state: str, value: float | None = None) -> None:
        from optuna.trial import TrialState

        tell = partial(self.study.tell, self.trial, value, state=TrialState[state], skip_if_finished=True)
        self.storage.patient(tell)  # where it was told before, only the answer was lost
        self._end()

    def _beat(self) -> None:
        storage: Any = self.study._storage
        storage.record_heartbeat(self.trial._trial_id)

    def _keep_beating(self) -> None:
        while not self._stop.wait(BEAT):
            with suppress(Exception):  # the database is away: the next sign of life will do
                self._beat()

    def _end(self) -> None:
        self._stop.set()
        self._beats.join(timeout=5)
        _held.discard(self.trial._trial_id)


def queue(study: Study, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution], **notes: Any) -> None:
    """Let values wait to be run, all of them in the database at once."""
    import optuna

    waiting = optuna.trial.TrialState.WAITING
    study.add_trial(
        optuna.trial.create_trial(
            state=waiting, params=dict(params), distributions=dict(distributions), user_attrs=notes
        )
    )


def take_waiting(storage: Storage, study: Study, **notes: object) -> Claim:
    """Claim the trial that waits in front; it names its owner before it counts as under way. To be called alone, where
    one waits."""
    import optuna

    waiting, running = optuna.trial.TrialState.WAITING, optuna.trial.TrialState.RUNNING
    found = study.get_trials(deepcopy=False, states=(waiting,))[0]._trial_id
    storage.check_alone()
    for name, value in {**notes, **_owner()}.items():
        study._storage.set_trial_user_attr(found, name, value)
    study._storage.set_trial_state_values(found, running)
    return Claim(storage, study, optuna.Trial(study, found))


def take_new(storage: Storage, study: Study, distributions: Mapping[str, BaseDistribution], **notes: object) -> Claim:
    """Claim a new trial, whose values the study's sampler draws; it stands in the database at once with its owner and
    all of its values. To be called alone."""
    import optuna

    drawn = _draw(study, distributions) if distributions else {}
    template = optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING,
        params=drawn,
        distributions=dict(distributions),
        user_attrs={**notes, **_owner()},
    )
    storage.check_alone()
    number = study._storage.create_new_trial(study._study_id, template)
    return Claim(storage, study, optuna.Trial(study, number))


def _owner() -> dict[str, str]:
    return {HOST: socket.gethostname(), PROCESS: this_process()}


def _draw(study: Study, distributions: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """What the sampler draws for the next trial, by its public steps: together where it can, else one by one."""
    import optuna

    blank = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
    blank.number = len(study.get_trials(deepcopy=False))
    study = copy(study)
    study._storage = _Unnoted(study._storage)  # type: ignore[assignment]
    space = study.sampler.infer_relative_search_space(study, blank)
    drawn = study.sampler.sample_relative(study, blank, {n: d for n, d in space.items() if n in distributions})
    for name, distribution in distributions.items():
        if name not in drawn:
            drawn[name] = study.sampler.sample_independent(study, blank, name, distribution)
    return drawn


class _Unnoted:
    """The storage, for a sampler that draws for a trial which is not in it yet: what it would note there, for others
    that draw meanwhile, these read from the trial's values."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def set_trial_system_attr(self, trial: int, name: str, value: object) -> None:
        """Nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


@contextmanager
def _unless_taken_away() -> Iterator[None]:
    """A block that may find its trial finished by another: a claim that looked dead from afar was given to somebody."""
    from optuna.exceptions import UpdateFinishedTrialError

    with suppress(UpdateFinishedTrialError):
        yield


def reap(storage: Storage, study: Study) -> None:
    """Mark what dead processes left, and queue it again; a look every few seconds is enough. To be called alone: then
    a trial that this process claimed without knowing of it was made just before the database went away."""
    from optuna.storages import fail_stale_trials
    from optuna.trial import TrialState

    if time.monotonic() - storage.reaped.get(study.study_name, -EVERY) < EVERY:
        return
    storage.reaped[study.study_name] = time.monotonic()
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        process = trial.user_attrs.get(PROCESS, "")
        if trial._trial_id in _held or trial.user_attrs.get(HOST) != socket.gethostname():
            continue
        if not storage.is_file and process and process.rpartition(":")[2] != this_process().rpartition(":")[2]:
            continue  # another boot, or another machine of this name: its signs of life tell
        if process == this_process() or not is_alive(process):
            requeue(study, trial.number, died=True)
    fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
        if KIND not in trial.user_attrs:  # another machine's, without a sign of life: found, but not queued yet
            copy_of(study, trial)


def requeue(study: Study, number: int, died: bool = False) -> None:
    """End a running trial as interrupted; its values wait to be run again, unless too many processes `died` of them."""
    from optuna.trial import TrialState

    trial = next(trial for trial in study.get_trials(deepcopy=False) if trial.number == number)
    if trial.state.is_finished():
        return
    deaths = trial.user_attrs.get(DEATH, 0) + died
    fatal = deaths >= DEATHS and bool(trial.params)
    if not fatal:
        copy_of(study, trial, **{DEATH: deaths})
    if died:
        study._storage.set_trial_user_attr(trial._trial_id, MESSAGE, f"{DIED} {deaths} times" if fatal else DIED)
    study._storage.set_trial_user_attr(trial._trial_id, KIND, "other" if fatal else "interrupted")
    study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


def copy_of(study: Study, trial: FrozenTrial, **notes: object) -> None:
    """Queue the values of a trial again, once; a cell has none."""
    if not trial.params or any(
        other.user_attrs.get(RETRY) == trial.number for other in study.get_trials(deepcopy=False)
    ):
        return
    kept = {
        name: value for name, value in trial.user_attrs.items() if name not in (HOST, PROCESS, KIND, MESSAGE, RETRY)
    }
    queue(study, trial.params, trial.distributions, **{**kept, **notes, RETRY: trial.number})


def used(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that a budget counts: finished, whatever came of them, but not those that were interrupted or that
    were queued again."""
    again = {trial.user_attrs.get(RETRY) for trial in trials}
    return [
        trial
        for trial in trials
        if trial.state.is_finished()
        and trial.number not in again
        and (trial.state.name != "FAIL" or trial.user_attrs.get(KIND, "interrupted") != "interrupted")
    ]


def queue_crashed(study: Study, command: str) -> None:
    """Queue again what crashed under other commands: the reason may be gone by now. To be called alone."""
    for trial in used(study.get_trials(deepcopy=False)):
        tries = trial.user_attrs.get(TRIES, 1)
        crashed = trial.state.name == "FAIL" and trial.user_attrs.get(KIND) in CRASHES
        if crashed and trial.user_attrs.get(COMMAND) != command and tries < MOST_TRIES:
            copy_of(study, trial, **{TRIES: tries + 1})
