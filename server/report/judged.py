"""Parts of ``results.json`` on the test set, its plan and its opening, as the report reads them."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from fedescc.server.report.parts import Count, Interval, Metrics, Part, Unit

Floats = Annotated[tuple[float, ...], Field(min_length=1)]
Units = Annotated[tuple[Unit, ...], Field(min_length=1)]
NotNegative = Annotated[float, Field(ge=0)]
Difference = tuple[Annotated[float, Field(ge=-1, le=1)], Annotated[float, Field(ge=-1, le=1)]]


class Lines(Part):
    """A drawing's numbers; those of one list belong to those of another at the same place."""

    @model_validator(mode="after")
    def _paired(self) -> Self:
        lists = {key: value for key, value in self if isinstance(value, tuple)}
        if len({len(value) for value in lists.values()}) > 1:
            msg = f"{' and '.join(lists)} differ in length"
            raise ValueError(msg)
        return self


class Curve(Lines):
    """ROC points, from (0, 0) to (1, 1)."""

    fpr: Annotated[tuple[Unit, ...], Field(min_length=2)]
    tpr: Annotated[tuple[Unit, ...], Field(min_length=2)]


class PrecisionRecall(Lines):
    """From the highest threshold that calls anybody positive down to everybody."""

    precision: Units
    recall: Units
    prevalence: Unit


class Calibration(Lines):
    """Groups of patients by predicted probability, lowest first, with Wilson's interval of what was observed."""

    predicted: Units
    observed: Units
    low: Units
    high: Units
    n: tuple[Count, ...]


class Decision(Lines):
    """Net benefit by threshold probability; treating nobody has none."""

    thresholds: Units
    model: Floats
    treat_all: Floats


class Curves(Part):
    """What is drawn of the pooled histogram beside the ROC curve."""

    precision_recall: PrecisionRecall | None = None
    calibration: Calibration | None = None
    decision: Decision | None = None
    suppressed: dict[str, str] = {}


class PartialArea(Part):
    """Standardised AUC up to a false positive rate."""

    auc: Unit
    max_fpr: Unit


class Primary(Part):
    """The primary metric; over sites held out it has a prediction interval, and ``note`` how far to trust it."""

    metric: str
    auc: Unit | None = None
    ci95: Interval | None = None
    prediction95: Interval | None = None
    note: str | None = None


class SiteMean(Part):
    """A mean of the sites' AUCs; ``left_out`` are sites that could not enter, with the reason."""

    auc: Unit | None = None
    ci95: Interval | None = None
    method: str | None = None
    sites: tuple[str, ...] = ()
    left_out: dict[str, str] = {}
    suppressed: dict[str, str] = {}


class Meta(SiteMean):
    """Random effects; ``tau2`` is on the logit scale, ``note`` how far to trust the prediction interval."""

    prediction95: Interval | None = None
    tau2: NotNegative | None = None
    i2: Unit | None = None
    q: NotNegative | None = None
    q_p: Unit | None = None
    note: str | None = None


class Bootstrap(Part):
    """Interval of the pooled AUC with whole sites drawn again."""

    auc_ci95: Interval | None = None
    draws: Count | None = None
    method: str | None = None
    suppressed: dict[str, str] = {}


class SiteTest(Part):
    """A site's own paired difference of AUC, or the code of why there is none."""

    difference: float | None = None
    ci95: tuple[float, float] | None = None
    p: Unit | None = None
    suppressed: str | None = None


class Compared(Part):
    """Pooled AUC of a comparator less the federated model's, or the code of why there is no difference."""

    model: str
    difference: float | None = None
    ci95: tuple[float, float] | None = None
    p: Unit | None = None
    planned: bool = False
    primary: bool = False
    folds: Count | None = None
    sites: dict[str, SiteTest] = {}
    suppressed: str | None = None


class Level(Metrics):
    """METRICS of one level of a subgroup."""

    sites: Count | None = None


class Gap(Part):
    """The largest difference between two levels, that of the lower value first, and its interval."""

    gap: Unit | None = None
    ci95: Difference | None = None
    levels: tuple[str, str] | None = None
    suppressed: str | None = None


class Final(Part):
    """The test set, opened once."""

    pooled: Metrics
    sites: dict[str, Metrics] = {}
    pooled_sites: tuple[str, ...] | None = None
    threshold_source: str | None = None
    auc_method: str | None = None
    roc: dict[str, Curve] = {}
    primary: Primary | None = None
    partial_auc: PartialArea | None = None
    average_precision: Unit | None = None
    curves: Curves | None = None
    meta: Meta | None = None
    auc_within_site: SiteMean | None = None
    bootstrap: Bootstrap | None = None
    comparisons: tuple[Compared, ...] = ()
    subgroups: dict[str, dict[str, Level]] = {}
    fairness: dict[str, dict[str, Gap]] = {}
    suppressed: dict[str, str] = {}
