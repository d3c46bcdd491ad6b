"""Parts of ``results.json`` that speak of patients and of models judged on them, as the report reads them."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
    auc_method: str | None = None
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
    standard_error: Annotated[float, Field(ge=0)] | None = None
    p: Unit | None = None
    suppressed: str | None = None


class Comparator(Part):
    """Another way to train, judged on the same test patients; or, in a fold, the code of why it could not be had."""

    pooled: Metrics = Metrics()
    sites: dict[str, Metrics] = {}
    versus_federated: Versus | None = None
    penalty: float | None = None
    selected: tuple[str, ...] = ()
    fitted_on: tuple[str, ...] | None = None
    refused: dict[str, str] = {}
    unavailable: str | None = None


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
    clinical: Area | None = None
    features_clinical: Area | None = None
    radiomics_clinical: Area | None = None
    fusion: Area | None = None
    ensemble: Area | None = None
    centralised: Area | None = None
    centralised_clinical: Area | None = None
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
