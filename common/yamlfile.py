"""Read a YAML file into a pydantic model, or refuse it with the line a user needs."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from fedescc.common.errors import Refusal


class Strict(BaseModel):
    """Base of every setting: frozen, unknown keys are errors, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


M = TypeVar("M", bound=Strict)


def read_model(path: Path, model: type[M]) -> M:
    """The settings in a YAML file.

    Raises:
        Refusal: the file is missing, is no YAML mapping, repeats a key, or does not fit ``model``.

    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal("unreadable-settings", f"cannot read {path}: {type(error).__name__}", "check the path") from error
    return parse_model(text, model, str(path))


def parse_model(text: str, model: type[M], name: str) -> M:
    """Like `read_model`, for YAML text; ``name`` says in errors where the text came from."""
    return check_model(parse_mapping(text, name), model, name)


def parse_mapping(text: str, name: str) -> dict[str, Any]:
    """YAML text as a mapping; a repeated key is refused, because YAML would silently keep the last."""
    try:
        data = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader that also refuses repeated keys
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date like 2025-02-30
        line = " ".join(str(error).split())
        raise Refusal("invalid-yaml", f"{name} is not valid YAML: {line}", "correct the file") from error
    if not isinstance(data, dict):
        raise Refusal("invalid-yaml", f"{name} holds no mapping of keys to values", "see configs/ for examples")
    return data


def check_model(data: dict[str, Any], model: type[M], name: str) -> M:
    """A mapping as a checked model; the first fault is reported in one line, with the number of others."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise Refusal("invalid-settings", _first_fault(error, name), "correct it; configs/ holds examples") from error


class _UniqueKeys(yaml.SafeLoader):
    """SafeLoader that refuses a mapping with the same key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"key {repeated[0]!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _first_fault(error: ValidationError, name: str) -> str:
    # An unknown key first: where it is a misspelling, the key that is then missing only confuses.
    faults = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
    first = faults[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    what = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    value = (
        ""
        if first["type"] in {"extra_forbidden", "missing"} or not _short(first["input"])
        else f" (got {first['input']!r})"
    )
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    return f"{name}: {where}: {what}{value}{more}"


def _short(value: object) -> bool:
    return isinstance(value, str | int | float | bool) and len(repr(value)) <= 60
