"""Read a YAML file into a pydantic model, or refuse it with the line a user needs."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from fedescc.common.errors import Refusal

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SHOWN = 3  # faults that a message spells out


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
    """A mapping as a checked model; its first faults are reported in one line, with the number of others."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise Refusal("invalid-settings", _faults(error, model, name), "correct it; configs/ holds examples") from error


class _UniqueKeys(yaml.SafeLoader):
    """SafeLoader that refuses a mapping with the same key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"key {repeated[0]!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _faults(error: ValidationError, model: type[BaseModel], name: str) -> str:
    # Unknown keys first: where one is a misspelling, the key that is then missing only confuses.
    faults = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
    shown = "; ".join(_fault(fault, model) for fault in faults[:_SHOWN])
    more = f", and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return " ".join(f"{name}: {shown}{more}".split())


def _fault(fault: "ErrorDetails", model: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in fault["loc"]) or "the file"
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key{_suggestion(fault['loc'], model)}"
    value = "" if fault["type"] == "missing" or not _short(fault["input"]) else f" (got {fault['input']!r})"
    return f"{where}: {fault['msg'].removeprefix('Value error, ')}{value}"


def _suggestion(where: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """The known key that an unknown one resembles most."""
    models = [model]
    for part in where[:-1]:
        fields = [one.model_fields[part] for one in models if isinstance(part, str) and part in one.model_fields]
        # A place in a list, or a key of a mapping, leads to no other model.
        models = [inner for field in fields for inner in _models(field.annotation)] or models
    # Of a choice of models, the key may belong to another one.
    known = [key for one in models for key in one.model_fields if key != where[-1]]
    close = get_close_matches(str(where[-1]), known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _models(annotation: Any) -> Iterable[type[BaseModel]]:
    """The models in a type, such as in ``tuple[Model, ...] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _short(value: object) -> bool:
    return isinstance(value, str | int | float | bool) and len(repr(value)) <= 60
