"""What the task of each message type may hold, checked before anything is computed.

Default deny, as `fedescc.common.schema` does for replies: an unknown message type or key, a key that is missing, of
another kind, out of range or too long is refused. Settings, encodings and folds are mappings of bounded size here;
their own modules read what is in them. A new message type declares its task here and joins `SHAPES`.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedescc.client.answers.kinds import (
    Counts,
    Declared,
    Digest,
    Edges,
    FineEdges,
    Mapping,
    Name,
    Names,
    Real,
    Round,
    Run,
    Site,
    Size,
    Vector,
)
from fedescc.common import wire
from fedescc.common.errors import Refusal
from fedescc.common.identity import MAX_DECLARED
from fedescc.common.network.fusion import MAX_FUSED
from fedescc.common.players import MAX_REFERENCE
from fedescc.common.shortcut import MAX_CLASSES, MAX_PRODUCTS
from fedescc.common.statistics.logistic import MAX_COLUMNS
from fedescc.common.statistics.relevance import MAX_CANDIDATES, MAX_SCREENED
from fedescc.common.tabular.moments import STEPS

_MOST_SITES = 1000


class _Shape(BaseModel):
    """Strict: True is no number, 1 no text, "1" no number, and NaN nothing at all."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Task(_Shape):
    """What every request may say: the run, and the fold of it, which `fedescc.common.fold.read_fold` reads."""

    run: Run = ""
    fold: Any = None


class _Fused(_Shape):
    """One of the models that a request joins, see `fedescc.common.network.fusion`."""

    encoding: Mapping
    model: Name | None = None
    size: Size


class _Model(_Shape):
    """One model, the study's network or a linear one, or several whose scores are fused."""

    federation: Mapping = {}
    encoding: Mapping = {}
    model: Name | None = None
    models: Annotated[list[_Fused], Field(min_length=1, max_length=MAX_FUSED)] = []
    fusion: Annotated[list[Real], Field(min_length=2, max_length=MAX_FUSED + 1)] = []

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if ("encoding" in self.model_fields_set) == ("models" in self.model_fields_set):
            msg = "give either encoding or models"
            raise ValueError(msg)
        if self.models and self.model is not None:
            msg = "models name their kind each"
            raise ValueError(msg)
        return self


class _OfModel(Task, _Model):
    """About a model."""


class _OfOneModel(Task):
    """About one model that is not fused."""

    federation: Mapping = {}
    encoding: Mapping
    model: Name | None = None


class _Statistics(Task):
    features: Annotated[Names, Field(max_length=MAX_SCREENED)] = []


class _Screening(_Statistics):
    """Settings and encoding are the run's and not looked at."""

    federation: Mapping = {}
    encoding: Mapping = {}
    features: Annotated[Names, Field(min_length=1, max_length=MAX_SCREENED)]
    centres: Annotated[list[Annotated[int, Field(ge=0, le=STEPS)]], Field(max_length=MAX_CANDIDATES)] = []


class _Logistic(_OfModel):
    coefficients: Annotated[list[Real], Field(min_length=1, max_length=MAX_COLUMNS + 1)]
    class_weights: Annotated[list[Real], Field(min_length=2, max_length=2)] = []


class _Pretraining(_OfOneModel):
    federation: Mapping
    round: Round


class _TrainingScores(_OfModel):
    edges: FineEdges


class _Bins(_Model):
    edges: Edges
    threshold: Real


class _Histograms(Task, _Bins):
    """About a model's scores in bins, and at a threshold."""


class _Training(_OfOneModel):
    federation: Mapping
    round: Round
    counted: Annotated[dict[Site, Round], Field(max_length=_MOST_SITES)] | None = None
    edges: Edges
    threshold: Real


class _Look(_Histograms):
    """Opens the test set: ``declared`` are all looks that will be taken, ``plan`` is the analysis plan's digest."""

    declared: Declared = []
    plan: Digest = ""


class _AfterLook(_OfModel):
    """Follows a look up; what the look said of bins and threshold may stand here again."""

    edges: Edges = []
    threshold: Real = 0.0
    declared: Declared = []
    plan: Digest = ""


class _Recalibration(_AfterLook):
    large: Annotated[list[Real], Field(min_length=1, max_length=1)]
    slope: Annotated[list[Real], Field(min_length=2, max_length=2)]


class _Explanation(_AfterLook):
    """A fusion has no inputs of its own to explain."""

    encoding: Mapping
    players: Literal["columns"] | None = None
    reference: Annotated[list[Real], Field(max_length=MAX_REFERENCE)] = []


class _Subgroups(_Histograms):
    plan: Digest = ""


class _OneLook(_Shape):
    task: _Bins
    size: Size


class _Pooled(_Shape):
    negatives: Counts
    positives: Counts


class _Comparison(Task):
    """Of several looks, see `fedescc.common.identity.join_looks`, with what each found at all sites together."""

    looks: Annotated[list[_OneLook], Field(min_length=1, max_length=MAX_DECLARED)]
    pooled: Annotated[list[_Pooled], Field(min_length=1, max_length=MAX_DECLARED)]
    plan: Digest = ""


class _Acquisition(Task):
    """Settings and encoding are the run's and not looked at."""

    federation: Mapping = {}
    encoding: Mapping = {}


class _Projection(_Shape):
    """See `fedescc.common.shortcut.Projection`."""

    centre: Vector
    scale: Vector
    axes: Annotated[list[Vector], Field(min_length=1, max_length=MAX_PRODUCTS)] | None


class _Rule(_Shape):
    """See `fedescc.common.shortcut.LinearRule`."""

    names: Annotated[Names, Field(max_length=MAX_CLASSES)]
    weights: Annotated[list[Vector], Field(max_length=MAX_CLASSES)]
    intercepts: Vector


class _Rules(_Shape):
    site: _Rule | None = None
    vendor: _Rule | None = None


class _Shortcut(_OfOneModel):
    projection: _Projection | None = None
    rules: _Rules | None = None


SHAPES: dict[str, type[Task]] = {
    wire.STATISTICS: _Statistics,
    wire.COUNTS: Task,
    wire.ACQUISITION: _Acquisition,
    wire.SCREENING: _Screening,
    wire.LOGISTIC: _Logistic,
    wire.REFERENCE: _OfOneModel,
    wire.TRAIN: _Training,
    wire.PRETRAIN: _Pretraining,
    wire.TRAINING_SCORES: _TrainingScores,
    wire.VALIDATION: _Histograms,
    wire.SHORTCUT: _Shortcut,
    wire.TEST: _Look,
    wire.RECALIBRATION: _Recalibration,
    wire.SUBGROUPS: _Subgroups,
    wire.COMPARISON: _Comparison,
    wire.EXPLANATION: _Explanation,
}


def require_shape(message_type: str, task: dict[str, Any]) -> None:
    """Refuse a task that does not hold what its message type needs, or holds anything else.

    Raises:
        Refusal: ``malformed-message``.

    """
    shape = SHAPES.get(message_type)
    if shape is None:
        raise _malformed(message_type, "no task of this type is known")
    try:
        shape.model_validate(task)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise _malformed(message_type, f"{_where(fault['loc'], shape)}: {fault['type']}") from error


def _where(loc: tuple[int | str, ...], shape: type[Task]) -> str:
    """The key at fault; an unknown one is the server's text and not repeated."""
    return str(loc[0]) if loc and loc[0] in shape.model_fields else "the task"


def _malformed(message_type: str, what: str) -> Refusal:
    return Refusal("malformed-message", f"a task of {message_type}: {what}", "check the server's version")
