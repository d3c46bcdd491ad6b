"""Parts of ``results.json`` that speak of patients and of models judged on them, as the report reads them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Unit = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Interval = tuple[Unit, Unit]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Part(BaseModel):
    """Base of every part: frozen, no NaN; absent keys are None or empty, so older results still render."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Area(Part):
    """An AUC and its 95 % interval."""

    auc: Unit | None = None
    auc_ci95: Interval | None = None


class Metrics(Area):
    """METRICS; ``ci95`` has Wilson's intervals, ``suppressed`` the code of every null value's reason.

    Over folds ``folds`` is how many have patients here, and ``folds_with_auc`` over how many of them the AUC is a mean.
    """

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
    folds: Count | None = None
    folds_with_auc: Count | None = None
    ci95: dict[str, Interval | None] = {}
    suppressed: dict[str, str] = {}


class Flow(Part):
    """One site's cohort; ``by_rule`` is absent where a small count would show."""

    included: Count | None = None
    excluded: Count | None = None
    n_train: Count | None = None
    by_rule: dict[str, Count] | None = None
    suppressed: dict[str, str] = {}


class Player(Part):
    """Shapley values of one input group, or of one column, over n patients."""

    n: Count
    mean_abs: float | None = None
    mean: float | None = None
    sd: float | None = None


class Gate(Part):
    """A figure that the explanation must keep to; ``passed`` is None where there is no value."""

    value: float | None = None
    limit: float
    passed: bool | None = None
    reason: str | None = None


class Rank(Part):
    """A player's rank by mean |SHAP| over a site's bootstrap samples; 1 is the most important."""

    mean_rank: float
    sd: Annotated[float, Field(ge=0)]


class RankStability(Part):
    """Ranks by site and player, and how well the sites agree."""

    sites: dict[str, dict[str, Rank]] = {}
    kendall_w: Unit | None = None
    players_compared: Count | None = None
    reason: str | None = None


class Baselines(Part):
    """Mean |SHAP| of one player with a fixed value, and with the tissue around, in place of what is removed."""

    n: Count
    fixed: float | None = None
    local: float | None = None


class Reference(Part):
    """What a removed clinical input shows."""

    kind: str
    patients: Count


class Explanation(Part):
    """Shapley summaries, pooled and by site, with what vouches for them; ``reason`` is why there are none."""

    unit: str = "logit"
    reference: Reference | None = None
    pooled: dict[str, Player] | None = None
    sites: dict[str, dict[str, Player]] = {}
    gates: dict[str, Gate] = {}
    rank_stability: RankStability | None = None
    local_baseline: dict[str, Baselines] | None = None
    columns: "Explanation | None" = None
    suppressed: dict[str, str] = {}
    reason: str | None = None


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
    pooled_sites: tuple[str, ...] | None = None
    versus_federated: Versus | None = None
    penalty: float | None = None
    selected: tuple[str, ...] = ()
    fitted_on: tuple[str, ...] | None = None
    explanation: Explanation | None = None
    refused: dict[str, str] = {}
    unavailable: str | None = None


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
