"""Tests of run filters: all terms must match, and invalid filters give one clear line."""

from __future__ import annotations

import pytest

from bench.errors import ConfigError
from studies.requests import FILTER_FIELDS, RunFilter, parse_filter
from tests.reports.made import make_run


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return make_run(
        tmp_path_factory.mktemp("results"), "mart-no-masking", dataset="iemocap", fold=3, seed=12, error="stopped"
    )


TAKEN = [
    "dataset=iemocap",
    "dataset=*",
    "arm=mart*",
    "arm=mart-no-?asking",
    "arm=*-no-*,seed=12,fold=3",
    " arm = mart* , fold = 3 ",
    "method=mart",
    "data=real,preset=quick,protocol=clean",
    "seed=1?",
    "seed=*,seed=12",
    "arm=[lm]art*",
]
REFUSED = [
    "dataset=ekman6",
    "arm=mart",  # matches the whole name only
    "arm=MART*",
    "seed=1",
    "seed=12,fold=2",
    "fold=2,fold=3",
    "method=mart-no-masking",
    "data=sample",
    "preset=paper",
    "protocol=refit",
    "key=0",
]


@pytest.mark.parametrize("text", TAKEN)
def test_a_run_is_selected_if_all_terms_match(record, text):
    assert parse_filter(text).matches(record, "mart-no-masking")


@pytest.mark.parametrize("text", REFUSED)
def test_a_run_is_not_selected_if_one_term_does_not_match(record, text):
    assert not parse_filter(text).matches(record, "mart-no-masking")


def test_a_run_is_selected_by_its_arm_in_the_report_and_by_its_key(record):
    assert parse_filter("arm=mart").matches(record, "mart")
    assert parse_filter(f"key={record.key[:6]}*").matches(record, "mart")


def test_a_filter_without_terms_matches_everything(record):
    assert RunFilter().matches(record, "whatever")


@pytest.mark.parametrize("field", FILTER_FIELDS)
def test_every_field_can_be_used(record, field):
    assert parse_filter(f"{field}=*").matches(record, "mart")
    assert not parse_filter(f"{field}=nothing").matches(record, "mart")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("datset=ekman6", "did you mean 'dataset'"),
        ("arms=mart", "did you mean 'arm'"),
        ("seed=0,sed=1", "did you mean 'seed'"),
        ("xyz=1", "known: "),
        ("ekman6", "got 'ekman6'"),
        ("dataset=", "got 'dataset='"),
        ("=ekman6", "field of --runs"),
        ("seed=0,", "got ''"),
        ("", "got ''"),
    ],
)
def test_an_invalid_filter_gives_one_clear_line(text, expected):
    with pytest.raises(ConfigError) as error:
        parse_filter(text)
    assert expected in str(error.value) and "--runs" in str(error.value) and "\n" not in str(error.value)
