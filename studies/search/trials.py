"""One trial: the config that was drawn, run on train and scored on val; the test split is sealed all the while."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

from bench.errors import ConfigError, DataError
from bench.execute import Desk, Outcome, execute
from bench.notebook import Pruned
from studies.queue.claims import Claim
from studies.search.search import FIRST_SEED, Search


def run_trial(search: Search, claim: Claim, desk: Desk) -> str:
    """Run a claimed trial and tell what came of it: a score, given up, or failed; the line for the screen.

    What interrupts it gives the trial back, to be run again with the same values.
    """
    try:
        return _run(search, claim, desk)
    except (ConfigError, DataError) as error:
        claim.failed("data" if isinstance(error, DataError) else "other", str(error))
        return f"trial {claim.number} failed: {error}"
    except BaseException:
        claim.give_back()
        raise


def _run(search: Search, claim: Claim, desk: Desk) -> str:
    values: list[float] = []
    keys: list[str] = []
    for part in range(search.how.seeds):
        outcome = _execute(search, claim, part, desk)
        error, key = outcome.record.error, outcome.record.key
        keys.append(key)
        claim.note(keys=keys)
        if error is not None and error.kind == "pruned":
            claim.pruned()
            return f"trial {claim.number} given up {error.message} (run {key})"
        if error is not None:
            claim.failed(error.kind, error.message)
            return f"trial {claim.number} failed: {error.kind}: {error.message} (run {key})"
        value = outcome.record.scores["val/acc_e"]
        assert value is not None  # a trial that ends well has been scored on val
        values.append(value)
        if search.how.seeds > 1 and claim.report(value, part) and part + 1 < search.how.seeds:
            claim.pruned()
            return f"trial {claim.number} given up after {part + 1} of {search.how.seeds} seeds"
    claim.done(fmean(values))
    return f"trial {claim.number}: val Acc E {100 * fmean(values):.1f}"


def _execute(search: Search, claim: Claim, part: int, desk: Desk) -> Outcome:
    """One run of the trial, on the validation fold of its seed."""

    def watch(epoch: int, value: float) -> None:
        if claim.report(value, epoch):
            raise Pruned(f"after epoch {epoch + 1} at val Acc E {100 * value:.1f}")

    ask = replace(
        search.base,
        config=search.base.config.override(claim.params),
        seed=FIRST_SEED + part,
        stage="trial",
        parent=search.title,
        watch=watch if search.how.seeds == 1 else None,
    )
    return execute(ask, desk)
