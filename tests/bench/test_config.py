from typing import Annotated, ClassVar

import pytest
from pydantic import Field

from bench.config import Config, SearchRange, parse_overrides
from bench.errors import ConfigError


class Example(Config):
    presets: ClassVar = {"paper": {}, "quick": {"lr": 0.1}}
    lr: Annotated[float, SearchRange(1e-5, 1e-1, log=True)] = Field(2e-4, gt=0)
    layers: int = Field(3, ge=1)


def test_a_preset_is_a_label_for_values():
    assert Example.from_preset("quick").lr == 0.1
    assert Example.from_preset("paper") == Example()


def test_an_unknown_preset_proposes_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'quick'"):
        Example.from_preset("quik")


def test_overrides_are_typed():
    assert Example().override({"layers": "5"}).layers == 5


def test_an_unknown_field_proposes_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'layers'"):
        Example().override({"layer": 1})


@pytest.mark.parametrize("values", [{"lr": "-1"}, {"lr": "fast"}, {"layers": "2.5"}])
def test_a_value_out_of_bounds_or_type_is_one_line_that_names_the_field(values):
    with pytest.raises(ConfigError, match=f"^{next(iter(values))}: ") as caught:
        Example().override(values)
    assert "\n" not in str(caught.value)


def test_a_message_names_the_option_only_where_the_value_came_from_it():
    with pytest.raises(ConfigError, match=r"^lr: must be greater than 0, got '-1'$"):
        Example().override({"lr": "-1"})
    with pytest.raises(ConfigError, match=r"^--set lr: must be greater than 0, got '-1'$"):
        Example().override({"lr": "-1"}, source="--set")


def test_search_ranges_are_declared_on_the_field():
    assert Example.get_declared_ranges() == {"lr": SearchRange(1e-5, 1e-1, log=True)}


def test_a_setting_without_equals_is_an_error():
    with pytest.raises(ConfigError, match="name=value"):
        parse_overrides(["lr"])
