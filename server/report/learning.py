"""Parts of ``results.json`` that tell how models came about, as the report reads them."""

from typing import Self

from pydantic import JsonValue, model_validator

from fedescc.server.report.judged import Final
from fedescc.server.report.parts import Area, Comparator, Count, Part, Sha256
from fedescc.server.report.planned import Opening


class Validation(Area):
    """The model after a round, on the sites' validation patients."""

    n: Count | None = None
    loss: float | None = None


class Round(Part):
    """One training round."""

    round: Count
    sites: tuple[str, ...] = ()
    refused: dict[str, str] = {}
    patients: Count | None = None
    train_loss: float | None = None
    seconds: float | None = None
    validation: Validation = Validation()


class PretrainingRound(Part):
    """One round of self-supervised training of the encoder."""

    round: Count
    sites: tuple[str, ...] = ()
    refused: dict[str, str] = {}
    patients: Count | None = None
    loss: float | None = None
    seconds: float | None = None


class Selection(Part):
    """Why a round's model was kept; the losses are those of models 0 (the initial one), 1, 2, ..."""

    reason: str | None = None
    validation_loss: tuple[float | None, ...] = ()


class WarmStart(Part):
    """Which tensors of a file the weights started from; the file is known by its hash alone."""

    file_sha256: Sha256 | None = None
    loaded: tuple[str, ...] = ()
    mismatched: tuple[JsonValue, ...] = ()
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    parameters: dict[str, Count] = {}


class Personalisation(Part):
    """What stays at a site."""

    kind: str = "none"
    attraction: float | None = None


class Learned(Part):
    """How one model came about: that of a run with one fold, or that of one of several folds."""

    rounds: tuple[Round, ...] = ()
    sites_lost: tuple[str, ...] = ()
    refused_before_training: dict[str, str] = {}
    refused_in_evaluation: dict[str, dict[str, str]] = {}
    comparators: dict[str, Comparator] = {}
    kept_round: Count | None = None
    selection: Selection | None = None
    pretraining: tuple[PretrainingRound, ...] = ()
    warm_start: WarmStart | None = None


class Fold(Learned):
    """One fold; one that failed has only its name, the site held out and the code."""

    fold: str
    held_out: str | None = None
    final: Final | None = None
    opening: Opening | None = None
    failed: str | None = None

    @model_validator(mode="after")
    def _tested_or_failed(self) -> Self:
        if (self.final is None) == (self.failed is None):
            msg = "a fold has either its results or the code of its failure"
            raise ValueError(msg)
        return self
