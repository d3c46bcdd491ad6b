"""A fold as a request names it: which of a run's divisions into training, validation and test patients is meant."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from fedescc.common.errors import Refusal
from fedescc.common.names import SITE_NAME
from fedescc.common.yamlfile import Strict

MAX_FOLDS = 20
HELD_OUT = "held-out"  # code: this site is the one held out, and takes no part in training
NOT_IN_K_FOLDS = "not-in-k-folds"  # code: this question is not answered in k folds
NOT_HELD_OUT = "not-held-out"  # code: this fold tests another site's patients


class KFold(Strict):
    """Fold ``index`` of ``of``: its share of every site's patients is tested, the others train."""

    mode: Literal["kfold"] = "kfold"
    index: Annotated[int, Field(ge=0, strict=True)]
    of: Annotated[int, Field(ge=2, le=MAX_FOLDS, strict=True)]

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.index >= self.of:
            msg = "index counts from 0 and must be below of"
            raise ValueError(msg)
        return self

    @property
    def name(self) -> str:
        """Name of the fold, also of its folder."""
        return f"fold-{self.index + 1}-of-{self.of}"


class Loso(Strict):
    """Leave one site out: all patients of ``held_out`` are tested, and it has no part in anything before."""

    mode: Literal["loso"] = "loso"
    held_out: Annotated[str, Field(pattern=f"^{SITE_NAME.pattern}$")]

    @property
    def name(self) -> str:
        """Name of the fold, also of its folder."""
        return f"without-{self.held_out}"


class Temporal(Strict):
    """Every site's earliest patients train, later ones validate, the latest are tested."""

    mode: Literal["temporal"] = "temporal"

    @property
    def name(self) -> str:
        """Name of the fold, also of its folder."""
        return "temporal"


Fold = KFold | Loso | Temporal
_FOLD: TypeAdapter[Fold] = TypeAdapter(Annotated[Fold, Field(discriminator="mode")])


def read_fold(task: dict[str, Any]) -> Fold | None:
    """The fold that a request's task names; None is the study's fixed split.

    Raises:
        Refusal: ``unknown-fold``.

    """
    value = task.get("fold")
    if value is None:
        return None
    try:
        return _FOLD.validate_python(value)
    except ValidationError as error:
        raise Refusal("unknown-fold", "the request names no fold that this site knows", "check versions") from error


def excused(code: str, site: str | None, task: dict[str, Any]) -> bool:
    """Whether a site that refuses with ``code`` keeps to the fold, instead of being lost.

    ``site`` is the name by which the server knows it; a site that it does not know yet cannot be excused.
    """
    fold = read_fold(task)
    if not isinstance(fold, Loso) or site is None:
        return False
    return code == (HELD_OUT if site == fold.held_out else NOT_HELD_OUT)
