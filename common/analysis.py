"""The analysis plan: part of the study and of its hash, with a digest of its own, fixed before the test set opens."""

import hashlib
import json
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from fedescc.common.protocol import CategoricalVariable, Name, NumericVariable, Variable
from fedescc.common.yamlfile import Strict

if TYPE_CHECKING:
    from fedescc.common.study import Study

FUSION, FUSED_BY_DEFAULT = "fusion", "features_clinical"
COMPARATORS = ("clinical", "features_clinical", "radiomics_clinical", FUSION)
"""Comparators that a federation fits itself, and so a plan can name."""

SCANNER_VENDOR = "scanner_vendor"  # a subgroup's variable that no table has: whose CT scanner it was
MISSING = "missing"  # the level of patients without a value
MAX_LEVELS = 100  # of all subgroups together, those of patients without a value included
_WITHOUT_IMAGES = ("clinical",)

Inside = Annotated[float, Field(gt=0, lt=1)]
Cost = Annotated[float, Field(gt=0, le=1e6)]


class Split(Strict):
    """How a site's patients are divided: by a hash of the salted patient key, or by its own column."""

    train: Annotated[float, Field(gt=0, lt=1)] = 0.6
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.15
    allow_column: bool = False

    @model_validator(mode="after")
    def _leaves_a_test_set(self) -> Self:
        if self.train + self.validation >= 1:
            msg = "train + validation must leave a test set (sum below 1)"
            raise ValueError(msg)
        return self


class AtSensitivity(Strict):
    """The highest threshold that reaches a sensitivity."""

    rule: Literal["sensitivity"]
    at: Inside

    @property
    def label(self) -> str:
        """What results call the rule."""
        return f"sensitivity-{self.at:g}"


class AtSpecificity(Strict):
    """The most sensitive threshold that reaches a specificity."""

    rule: Literal["specificity"]
    at: Inside

    @property
    def label(self) -> str:
        """What results call the rule."""
        return f"specificity-{self.at:g}"


class LeastCost(Strict):
    """The threshold of least expected cost, by what a missed positive and a false alarm cost in one unit."""

    rule: Literal["cost"]
    false_negative: Cost
    false_positive: Cost

    @property
    def label(self) -> str:
        """What results call the rule."""
        return f"cost-{self.false_negative:g}-{self.false_positive:g}"


def _rule_of(value: Any) -> str | None:
    rule = value.get("rule") if isinstance(value, dict) else getattr(value, "rule", value)
    return rule if isinstance(rule, str) else None


ThresholdRule = Annotated[
    Annotated[Literal["youden"], Tag("youden")]
    | Annotated[AtSensitivity, Tag("sensitivity")]
    | Annotated[AtSpecificity, Tag("specificity")]
    | Annotated[LeastCost, Tag("cost")],
    Discriminator(
        _rule_of,
        custom_error_type="threshold_rule",
        custom_error_message="give youden, or a mapping with rule: sensitivity, specificity or cost",
    ),
]


class Subgroup(Strict):
    """Patients judged apart by a variable's categories, or by ``cuts`` of a number, at which a level starts."""

    variable: Name
    cuts: Annotated[tuple[float, ...], Field(max_length=10)] = ()

    @model_validator(mode="after")
    def _cuts_ascend(self) -> Self:
        if not all(low < high for low, high in pairwise(self.cuts)):
            msg = "cuts must ascend"
            raise ValueError(msg)
        return self


class Analysis(Strict):
    """The plan, fixed before the test set opens.

    Attributes:
        split: how patients are divided.
        primary_metric: the AUC of all sites' test patients together, or the mean of the sites' own AUCs.
        threshold: the rule that locks the threshold on the validation patients.
        histogram_bins: quantiles of the training scores that become edges of the score histograms.
        comparators: models judged beside the study's own; another one that a run asks for is exploratory.
        compared_with: the comparator of the paired test.
        partial_auc: false positive rate up to which the ROC curve counts; None reports no partial AUC.
        decision_thresholds: probabilities at which net benefit is exact.
        subgroups: patients judged apart.
        explanation_groups: covariates explained as one player.

    """

    split: Split = Split()
    primary_metric: Literal["pooled_auc", "mean_site_auc"] = "pooled_auc"
    threshold: ThresholdRule = "youden"
    histogram_bins: Annotated[int, Field(ge=10, le=200)] = 50
    comparators: tuple[Name, ...] = ()
    compared_with: Name | None = None
    partial_auc: Inside | None = None
    decision_thresholds: Annotated[tuple[Inside, ...], Field(max_length=50)] = ()
    subgroups: Annotated[dict[Name, Subgroup], Field(max_length=20)] = {}
    explanation_groups: dict[Name, Annotated[tuple[Name, ...], Field(min_length=1)]] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if faults := _comparator_faults(self.comparators, self.compared_with):
            raise ValueError(faults[0])
        if not all(low < high for low, high in pairwise(self.decision_thresholds)):
            msg = "decision_thresholds must ascend"
            raise ValueError(msg)
        return self

    @property
    def threshold_label(self) -> str:
        """What results call the threshold's rule."""
        return self.threshold if isinstance(self.threshold, str) else self.threshold.label

    def planned(self, asked: Collection[str]) -> tuple[str, ...]:
        """The plan's comparators, of a run that asks for these: a fusion of other models than the plan's is another."""
        same = _fused(asked) == _fused(self.comparators)
        return tuple(name for name in self.comparators if name != FUSION or same)

    @property
    def order(self) -> list[list[str]]:
        """What of the plan has an order that sorted JSON does not keep: of players, and of subgroups on the wire."""
        return [list(self.explanation_groups), list(self.subgroups)]

    @property
    def sha256(self) -> str:
        """The plan's own digest: a site opens its test patients under this plan and no other."""
        document = {"analysis": self.model_dump(mode="json"), "order": self.order}
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _fused(names: Collection[str]) -> set[str]:
    """What a fusion joins with the network."""
    return {*names} - {FUSION} or {FUSED_BY_DEFAULT}


def subgroup_levels(study: "Study") -> dict[str, tuple[str, ...]]:
    """Subgroup -> its levels in order, such as ``female``, ``male`` or ``<65``, ``>=65``; without `MISSING`."""
    return {name: _levels(study, subgroup) for name, subgroup in study.analysis.subgroups.items()}


def all_levels(study: "Study") -> list[tuple[str, str]]:
    """Every (subgroup, level) in the order of the wire; each subgroup ends with `MISSING`."""
    return [(name, level) for name, levels in subgroup_levels(study).items() for level in (*levels, MISSING)]


def kept_variables(study: "Study") -> dict[str, Variable]:
    """What a cohort keeps of its table: the covariates, and recorded variables that subgroups go by."""
    asked = {subgroup.variable for subgroup in study.analysis.subgroups.values()}
    return study.covariates | {name: variable for name, variable in study.recorded.items() if name in asked}


def plan_faults(study: "Study") -> list[str]:
    """What in the plan does not fit the study."""
    faults = [
        f"analysis.comparators: {name} needs images"
        for name in study.analysis.comparators
        if study.imaging is None and name not in _WITHOUT_IMAGES
    ]
    if SCANNER_VENDOR in study.variables:
        faults.append(f"{SCANNER_VENDOR}: means the CT scanner's vendor; give the variable another name")
    faults += [
        f"analysis.subgroups.{name}: {fault}"
        for name, subgroup in study.analysis.subgroups.items()
        if (fault := _subgroup_fault(study, subgroup)) is not None
    ]
    if not faults and len(all_levels(study)) > MAX_LEVELS:
        faults.append(f"analysis.subgroups: {len(all_levels(study))} levels, where {MAX_LEVELS} are allowed")
    return faults


def _comparator_faults(comparators: Sequence[str], compared_with: str | None) -> list[str]:
    known = ", ".join(COMPARATORS)
    faults = [f"comparators: no comparator {name!r}; give {known}" for name in comparators if name not in COMPARATORS]
    faults += [f"comparators: {name!r} is named twice" for name in comparators if comparators.count(name) > 1]
    if compared_with is not None and compared_with not in comparators:
        faults.append(f"compared_with: {compared_with!r} is not among the comparators")
    return faults


def _subgroup_fault(study: "Study", subgroup: Subgroup) -> str | None:
    name, variable = subgroup.variable, study.variables.get(subgroup.variable)
    if name == SCANNER_VENDOR:
        return _vendor_fault(study, subgroup)
    if variable is None:
        return f"no variable named {name!r}"
    if name in study.endpoint.positive_when:
        return f"{name!r} is part of the endpoint, so it cannot tell patients apart beforehand"
    if isinstance(variable, NumericVariable):
        return _cuts_fault(name, variable, subgroup.cuts)
    return _categories_fault(name, variable, subgroup.cuts)


def _vendor_fault(study: "Study", subgroup: Subgroup) -> str | None:
    if subgroup.cuts:
        return f"{SCANNER_VENDOR} has no order to cut"
    return None if study.imaging is not None else f"{SCANNER_VENDOR} needs an imaging section"


def _cuts_fault(name: str, variable: NumericVariable, cuts: Sequence[float]) -> str | None:
    low, high = variable.range
    if not cuts:
        return f"{name!r} is a number and needs cuts"
    outside = [cut for cut in cuts if not low < cut < high]
    return f"cut {outside[0]:g} lies outside the range of {name!r}, {low:g} to {high:g}" if outside else None


def _categories_fault(name: str, variable: Variable, cuts: Sequence[float]) -> str | None:
    if not isinstance(variable, CategoricalVariable):
        return f"{name!r} is a date; take a category or a number"
    if cuts:
        return f"cuts belong to a number, and {name!r} has categories"
    if MISSING in variable.categories:
        return f"{name!r} has a category {MISSING!r}, as patients without a value are called"
    return None


def _levels(study: "Study", subgroup: Subgroup) -> tuple[str, ...]:
    if subgroup.variable == SCANNER_VENDOR:
        from fedescc.common.acquisition import VENDORS

        return tuple(VENDORS)
    variable = study.variables[subgroup.variable]
    if isinstance(variable, CategoricalVariable):
        return variable.categories
    cuts = [repr(cut).removesuffix(".0") for cut in subgroup.cuts]  # in full: two levels must not share a name
    between = [f"{low} to <{high}" for low, high in pairwise(cuts)]
    return (f"<{cuts[0]}", *between, f">={cuts[-1]}")
