"""What the report reads of ``results.json``, checked before anything is drawn. Keys it does not know are ignored."""

import json
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from fedescc.common.errors import Refusal

Unit = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Interval = tuple[Unit, Unit]


class Part(BaseModel):
    """Base of every part: frozen, no NaN; absent keys are None or empty, so older results still render."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Area(Part):
    """An AUC and its 95 % interval."""

    auc: Unit | None = None
    auc_ci95: Interval | None = None


class Metrics(Area):
    """METRICS; ``suppressed`` maps the key of a null value to the code of its reason."""

    n: Count | None = None
    n_pos: Count | None = None
    accuracy: Unit | None = None
    sensitivity: Unit | None = None
    specificity: Unit | None = None
    ppv: Unit | None = None
    npv: Unit | None = None
    brier: Unit | None = None
    calibration_intercept: float | None = None
    calibration_slope: float | None = None
    threshold: Unit | None = None
    suppressed: dict[str, str] = {}


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


class Curve(Part):
    """ROC points, from (0, 0) to (1, 1)."""

    fpr: Annotated[tuple[Unit, ...], Field(min_length=2)]
    tpr: Annotated[tuple[Unit, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if len(self.fpr) != len(self.tpr):
            msg = "fpr and tpr differ in length"
            raise ValueError(msg)
        return self


class Final(Part):
    """The test set, opened once."""

    pooled: Metrics
    sites: dict[str, Metrics] = {}
    pooled_sites: tuple[str, ...] | None = None
    threshold_source: str | None = None
    roc: dict[str, Curve] = {}


class Flow(Part):
    """One site's cohort; ``by_rule`` is absent where a small count would show."""

    included: Count | None = None
    excluded: Count | None = None
    n_train: Count | None = None
    by_rule: dict[str, Count] | None = None
    suppressed: dict[str, str] = {}


class Versus(Part):
    """Pooled AUC minus the federated model's on the same patients, and DeLong's paired p; None if undefined."""

    difference: float | None = None
    p: Unit | None = None


class Comparator(Part):
    """Another way to train, judged on the same test patients."""

    pooled: Metrics = Metrics()
    sites: dict[str, Metrics] = {}
    versus_federated: Versus | None = None


class Player(Part):
    """Shapley values of one input group over n patients."""

    n: Count
    mean_abs: float | None = None
    mean: float | None = None
    sd: float | None = None


class Explanation(Part):
    """Shapley summaries, pooled and by site."""

    unit: str = "logit"
    pooled: dict[str, Player] | None = None
    sites: dict[str, dict[str, Player]] = {}
    suppressed: dict[str, str] = {}


class Privacy(Part):
    """What protected the exchange, and what left; None where the results do not say."""

    differential_privacy: bool | None = None
    epsilon: float | None = None
    delta: float | None = None
    secure_sum: bool | None = None
    min_class_count: Count | None = None
    left_the_sites: tuple[str, ...] = ()


class SyntheticAreas(Part):
    """AUCs on the large extra test set that only a synthetic cohort can have."""

    federated: Area | None = None
    centralised: Area | None = None
    local_only: dict[str, Area] = {}
    local_only_mean: Unit | None = None
    ceiling_latent_regression: Area | None = None
    ceiling_bayes: Area | None = None


class SyntheticTest(Part):
    """The extra test set, and the AUC of cues that must not tell the outcome."""

    n: Count
    n_pos: Count | None = None
    auc: SyntheticAreas = SyntheticAreas()
    trivial_cues: dict[str, Unit | None] = {}


class Timing(Part):
    """Seconds by phase."""

    seconds: dict[str, float] = {}


class Results(Part):
    """A results document; see the command contract."""

    study: Annotated[str, Field(min_length=1)]
    study_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    rounds: tuple[Round, ...]
    final: Final
    title: str | None = None
    registration: str | None = None
    endpoint: str | None = None
    seed: int | None = None
    strategy: str | None = None
    engine: str | None = None
    federation: dict[str, JsonValue] = {}
    version: str | None = None
    sites_lost: tuple[str, ...] = ()
    refused_before_training: dict[str, str] = {}
    refused_in_evaluation: dict[str, dict[str, str]] = {}
    flow: dict[str, Flow] = {}
    comparators: dict[str, Comparator] = {}
    explanation: Explanation | None = None
    privacy: Privacy | None = None
    timing: Timing = Timing()
    synthetic_test: SyntheticTest | None = None
    notes: tuple[str, ...] = ()

    @property
    def site_names(self) -> list[str]:
        """Every site that gave something to show, sorted; its place here is its colour, dash and marker."""
        explained = self.explanation.sites if self.explanation else {}
        extra = self.synthetic_test.auc.local_only if self.synthetic_test else {}
        compared = [name for other in self.comparators.values() for name in other.sites]
        curves = self.final.roc.keys() - {"pooled"}
        return sorted({*self.final.sites, *self.flow, *explained, *extra, *compared, *curves})


def parse_results(document: dict[str, Any]) -> Results:
    """A results document with its types checked; no text is taken for a number.

    Raises:
        Refusal: it is not a results document; the first fault is named, in one line.

    """
    try:
        return Results.model_validate_json(json.dumps(document, allow_nan=False), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise _refusal(f"{where}: {first['msg']}") from error
    except (TypeError, ValueError) as error:
        raise _refusal("the document holds values that JSON does not have (such as NaN)") from error


def _refusal(what: str) -> Refusal:
    return Refusal("no-results", f"not a results document: {what}", "give the results.json of a finished run")
