"""Typed configs: meaning, type, default, bounds and search range of a hyper-parameter stand on one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import ConfigError
from bench.names import look_up, propose


@dataclass(frozen=True)
class Search:
    """The range a search draws a numeric field from, or the choices of a categorical one. `only` tells whether the
    field changes a number beside the other values of a config; a field that does not is not searched.

    lr: Annotated[float, Search(1e-5, 1e-3, log=True)] = Field(2e-4, gt=0, description="peak step size")
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()
    only: Callable[[Any], bool] = lambda config: True


class Config(BaseModel):
    """Base of every method's config. Defaults are the paper's values; a preset is a label for other values."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "quick": {}}

    @classmethod
    def preset(cls, name: str) -> Self:
        """The config that a preset's name stands for; raises ConfigError for an unknown name."""
        return cls(**look_up(name, cls.presets, "preset"))

    def override(self, values: Mapping[str, Any]) -> Self:
        """A copy with other values, checked as if they had been typed; raises ConfigError in one line."""
        for name in values:
            if name not in type(self).model_fields:
                raise ConfigError(f"unknown config field '{name}'; {propose(name, type(self).model_fields)}")
        try:
            return type(self).model_validate({**self.model_dump(), **values})
        except ValidationError as error:
            raise ConfigError(_first_line(error)) from None

    def files(self) -> dict[str, Path]:
        """Field name -> file that the numbers depend on. A record names it by its content, never by its place."""
        return {}

    def ranges(self) -> dict[str, Search]:
        """Field name -> search range, of those that change a number under this config's other values."""
        return {name: search for name, search in self.searches().items() if search.only(self)}

    @classmethod
    def searches(cls) -> dict[str, Search]:
        """Field name -> search range, for the fields that declare one."""
        found = {}
        for name, info in cls.model_fields.items():
            for item in info.metadata:
                if isinstance(item, Search):
                    found[name] = item
        return found


def parse_overrides(items: list[str]) -> dict[str, str]:
    """`["epochs=2", "lr=1e-3"]` as a dict; raises ConfigError for an item without `=`."""
    values = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--set wants name=value, got '{item}'; for example --set lr=0.001")
        values[name.strip()] = value.strip()
    return values


def _first_line(error: ValidationError) -> str:
    """The first complaint of pydantic as one line: field, value, reason."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "config"
    return f"config field '{where}': {first['msg'][0].lower()}{first['msg'][1:]}, got '{first['input']}'"
