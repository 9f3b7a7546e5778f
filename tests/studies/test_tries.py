"""Tests of --limit, --pretrain-on and --search: what they change in a plan, and their mistakes."""

import pytest

from bench.errors import ConfigError
from bench.execute import make_spec
from bench.types import DataIdentity
from studies.plan import ArmGroup, StudyRequest, make_plan, resolve_requests
from studies.requests import find_arm
from studies.search import Budget, SearchOptions, find_search_ranges
from studies.select import StoredRecord, match_requests

IDENTITY = DataIdentity("f" * 64, "c" * 64)
OTHER = DataIdentity("e" * 64, "d" * 64)


def plan(*arms, fields=(), **changed):
    group = ArmGroup(arms, ("ekman6",), tuning="per-arm")
    options = SearchOptions(fields=fields)
    return make_plan(StudyRequest("x", (group,), (0,), search_options=options, **changed))


def test_a_search_is_restricted_to_the_fields_named():
    config = find_arm("mart").method.config.from_preset("quick")
    assert set(find_search_ranges(config, set(), ("lr", "tau"))) == {"lr", "tau"}
    assert set(find_search_ranges(config, {"lr"}, ("lr", "tau"))) == {"tau"}
    assert len(plan("mart", "mbt", fields=("tau",), budget=Budget(trials=2)).searches) == 1  # mbt has no such field


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("epochs", "--search: field 'epochs' has no search range; choose from dropout, lr"),
        ("lrr", "unknown field of --search 'lrr'; did you mean 'lr'?"),
    ],
)
def test_a_field_without_a_range_is_refused(field, message):
    with pytest.raises(ConfigError, match=message):
        plan("mart", fields=(field,), budget=Budget(trials=2))


def test_fine_tuning_fields_of_a_search_do_not_change_the_pre_training():
    (stage,) = find_arm("mart").method.stages
    ranges = find_arm("mart").method.config.get_declared_ranges()
    assert {"lr", "weight_decay", "dropout", "polarity_weight"} == ranges.keys() & set(stage.ignores)


@pytest.mark.parametrize(
    ("method", "other", "message"),
    [
        ("mbt", "perr", "--pretrain-on: mbt has no pre-training; choose --method from mart, mart-released"),
        ("mart", "ekman6", "--pretrain-on: ekman6 is the data set of the runs themselves; omit the option"),
        ("mart", "per", "unknown data set 'per'; did you mean 'perr'?"),
        ("mart", "affwild2-va", "mart cannot predict the scores"),
    ],
)
def test_a_data_set_that_cannot_be_pre_trained_on_is_refused(method, other, message):
    with pytest.raises(ConfigError, match=message):
        resolve_requests(method, "ekman6", "quick", [], [0], pretrain_on=other)


def test_arms_without_pre_training_are_not_affected_by_it():
    made = plan("mbt", "mart", pretrain_on="perr")
    others = {run.arm: made.request_for(run).pretrain_on for run in made.runs}
    assert others["mbt"] is None and others["mart"].info.name == "perr"


def test_limit_and_pre_training_are_in_the_key_and_in_the_stored_request():
    (request,) = resolve_requests("mart", "ekman6", "quick", ["lr=0.01"], [0], limit=3, pretrain_on="perr")
    (plain,) = resolve_requests("mart", "ekman6", "quick", ["lr=0.01"], [0])
    spec, plain_spec = make_spec(request, IDENTITY, {}, OTHER), make_spec(plain, IDENTITY, {})
    assert spec.key != plain_spec.key and spec.extras == {"limit": "3", "pretrain_on": "perr"} == request.extras
    made = plan("mart", limit=3, pretrain_on="perr", settings=("lr=0.01",))
    (stored,) = made.requests(made.runs[0])
    assert stored.settings == {"lr": "0.01", "limit": "3", "pretrain_on": "perr"}


def test_a_limited_run_is_matched_with_its_own_request_and_not_with_one_without_limit(make_record):
    (request,) = resolve_requests("mart", "ekman6", "quick", [], [0], limit=3)
    record = make_record(make_spec(request, IDENTITY, {}))
    made = plan("mart", limit=3), plan("mart")
    requests = [whole.requests(whole.runs[0])[0] for whole in made]
    for stored, count in zip(requests, (1, 0), strict=True):
        found = match_requests(StoredRecord(record, None, "", (stored,)), ["mart"], "x")
        assert [match.request for match in found if match.request is stored] == [stored] * count
        assert found[0].request.settings == {"limit": "3"}


@pytest.fixture
def make_record():
    from bench.record import Record

    def make(spec):
        return Record(spec.key, spec, "mart", "quick", 1, {}, {}, {}, {}, [])

    return make
