"""The study: one YAML file whose canonical hash is its identity.

Everything that decides what is learned and from whom is here: endpoint, eligibility, covariates, images,
model, analysis plan and disclosure rules. Server and sites refuse to talk under different hashes.
"""

import hashlib
import json
import os
import re
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from fedescc.common.errors import Refusal
from fedescc.common.shapley import MAX_PLAYERS
from fedescc.common.yamlfile import Strict, parse_model, read_model

REGIONS = ("tumour", "rim", "rest")  # of a scan, explained apart
TimePoint = Literal["pre", "post"]
Moment = Literal["baseline", "treatment", "second_ct", "surgery", "pathology"]
_ORDER: tuple[Moment, ...] = ("baseline", "treatment", "second_ct", "surgery", "pathology")
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")]


class NumericVariable(Strict):
    """A measured value; outside ``range`` (in ``unit``) it is refused, most often a wrong unit."""

    type: Literal["numeric"]
    unit: str
    range: tuple[float, float]
    required: bool = False
    available_at: Moment

    @field_validator("range")
    @classmethod
    def _increasing(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] < value[1]:
            msg = "range must be [low, high] with low < high"
            raise ValueError(msg)
        return value


class CategoricalVariable(Strict):
    """A value out of a closed list."""

    type: Literal["categorical"]
    categories: Annotated[tuple[str, ...], Field(min_length=2)]
    required: bool = False
    available_at: Moment

    @field_validator("categories")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            msg = "categories must differ from each other"
            raise ValueError(msg)
        return value


class DateVariable(Strict):
    """A calendar date (ISO 8601); used for eligibility and chronology only, never sent."""

    type: Literal["date"]
    required: bool = False
    available_at: Moment


Variable = Annotated[NumericVariable | CategoricalVariable | DateVariable, Field(discriminator="type")]


class Condition(Strict):
    """What a variable's value must satisfy: a list of categories, or bounds of a number or a date."""

    one_of: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    minimum: float | date | None = None
    maximum: float | date | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.one_of is None) == (self.minimum is None and self.maximum is None):
            msg = "give either one_of or minimum/maximum"
            raise ValueError(msg)
        low, high = self.minimum, self.maximum
        if low is not None and type(low) is type(high) and not low <= high:  # type: ignore[operator] # one type
            msg = "minimum must not exceed maximum"
            raise ValueError(msg)
        return self

    def holds(self, value: str | float | date) -> bool:
        """Whether a present value satisfies the condition."""
        if self.one_of is not None:
            return value in self.one_of
        above = self.minimum is None or value >= self.minimum  # type: ignore[operator] # types agree: checked by Study
        return above and (self.maximum is None or value <= self.maximum)  # type: ignore[operator]


# What intake counts patients under by itself.
_RESERVED_CODES = frozenset(
    ["included", "endpoint_unknown", "no_ct_pre", "no_ct_post", "ct_quality", "no_roi", "no_chronology", "missing"]
)


class Rule(Strict):
    """One eligibility rule of the protocol; a patient whose value is unknown is excluded as unknown."""

    code: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{2,39}$")]
    text: str
    when: dict[Name, Condition] = {}
    built_in: Literal["ct_pre", "ct_post", "chronology", "complete_clinical_data", "ct_quality", "roi"] | None = None

    @field_validator("code")
    @classmethod
    def _not_intakes_own(cls, value: str) -> str:
        if value in _RESERVED_CODES:
            msg = f"{value!r} is a code of intake's own; choose another"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.when) == (self.built_in is not None):
            msg = "give either when (conditions on variables) or built_in"
            raise ValueError(msg)
        return self


class Eligibility(Strict):
    """All of ``inclusion`` must hold and none of ``exclusion``."""

    inclusion: tuple[Rule, ...] = ()
    exclusion: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _distinct_codes(self) -> Self:
        codes = [rule.code for rule in self.inclusion + self.exclusion]
        if len(set(codes)) != len(codes):
            msg = "eligibility codes must differ from each other"
            raise ValueError(msg)
        return self


class Endpoint(Strict):
    """The outcome: positive when every condition holds; a missing component leaves it unknown.

    ``contradictions`` are sets of values that cannot all be true of one patient, such as ypT0 with a recorded
    residual tumour: a patient for whom all conditions of one hold has no usable outcome.
    """

    name: Name
    text: str
    positive_when: Annotated[dict[Name, Condition], Field(min_length=1)]
    contradictions: tuple[Rule, ...] = ()

    @field_validator("contradictions")
    @classmethod
    def _on_values(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        if any(rule.built_in for rule in rules) or len({rule.code for rule in rules}) != len(rules):
            msg = "each contradiction has a code of its own and says when (conditions on variables)"
            raise ValueError(msg)
        return rules


class Roi(Strict):
    """Region of interest: by which name each time point's is drawn, and how much of it the grid must hold.

    After treatment it is the tumour bed of every patient: a drawn residual tumour would tell the outcome.

    Attributes:
        name_pattern: names of the baseline tumour's ROI (regular expression, in full).
        post_rule: ``propagate`` carries every baseline ROI to the second CT by registration; a tumour bed that a
            reader drew there corrects it. ``drawn`` takes drawn tumour beds only.
        post_name_pattern: names of a drawn tumour bed.
        second_reader_pattern: names of a second reader's ROI, which is compared and never used otherwise.
        nodal_name_pattern: names of lymph nodes drawn on the baseline CT, which join the ROI; None leaves them out.
        min_similarity: least agreement of the two CTs around the ROI after registration, 0 to 1.
        min_share_in_grid: least part of the ROI's volume that the grid must hold.

    """

    name_pattern: str = "(?i)^(?!tumou?r[ _-]?bed)(gtv|tumou?r|lesion|esophag.*tumou?r).*$"
    post_rule: Literal["propagate", "drawn"] = "propagate"
    post_name_pattern: str = "(?i)^tumou?r[ _-]?bed.*$"
    second_reader_pattern: str = "(?i)^.*[ ._-](r2|reader[ _-]?2)$"
    nodal_name_pattern: str | None = None
    min_similarity: Annotated[float, Field(ge=0, le=1)] = 0.7
    min_share_in_grid: Annotated[float, Field(ge=0, le=1)] = 0.8

    @field_validator("name_pattern", "post_name_pattern", "second_reader_pattern", "nodal_name_pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            msg = f"not a regular expression: {error}"
            raise ValueError(msg) from error
        return value


class Grid(Strict):
    """The model's grid, in patient axes (LPS), centred on the ROI; its axes may differ in size and spacing.

    What of the ROI lies nearer than ``margin_mm`` to the grid's border counts as outside it.
    """

    size_zyx: tuple[Annotated[int, Field(ge=8, le=256)], ...]
    spacing_zyx_mm: tuple[Annotated[float, Field(gt=0, le=10)], ...]
    window_hu: tuple[float, float]
    margin_mm: Annotated[float, Field(ge=0, le=50)] = 0.0

    @model_validator(mode="after")
    def _three_axes(self) -> Self:
        if len(self.size_zyx) != 3 or len(self.spacing_zyx_mm) != 3:
            msg = "size_zyx and spacing_zyx_mm take three values: z, y, x"
            raise ValueError(msg)
        if not self.window_hu[0] < self.window_hu[1]:
            msg = "window_hu must be [low, high] in HU with low < high"
            raise ValueError(msg)
        if any(2 * self.margin_mm >= n * mm for n, mm in zip(self.size_zyx, self.spacing_zyx_mm, strict=True)):
            msg = "margin_mm leaves nothing of the grid"
            raise ValueError(msg)
        return self


QualityCode = Literal[
    "thick_slices",
    "roi_near_border",
    "hu_implausible",
    "noisy",
    "metal_near_roi",
    "body_truncated",
    "not_enhanced",
    "enhancement_unknown",
    "lossy_compression",
    "tilt_corrected",
    "interval_unusual",
    "kernel_differs",
    "enhancement_differs",
]


class Quality(Strict):
    """What makes a CT doubtful. Every finding is noted; those in ``refuse`` exclude unless a person overrides them.

    Attributes:
        max_slice_mm: largest slice thickness or distance between slices.
        roi_margin_mm: how far the scan must extend beyond the ROI on every side.
        max_noise_hu: largest noise, SD in homogeneous soft tissue.
        min_enhancement_hu: least HU of the heart and great vessels after contrast medium.
        max_enhancement_difference_hu: between the two CTs, in the heart and great vessels.
        interval_days: usual days between the two CTs.
        refuse: findings that exclude.

    """

    max_slice_mm: Annotated[float, Field(gt=0, le=20)] = 5.5
    roi_margin_mm: Annotated[float, Field(ge=0, le=50)] = 3.0
    max_noise_hu: Annotated[float, Field(gt=0)] = 40.0
    min_enhancement_hu: Annotated[float, Field(gt=0)] = 90.0
    max_enhancement_difference_hu: Annotated[float, Field(gt=0)] = 150.0
    interval_days: tuple[int, int] = (14, 365)
    refuse: tuple[QualityCode, ...] = ("thick_slices", "roi_near_border", "hu_implausible", "not_enhanced")

    @field_validator("interval_days")
    @classmethod
    def _increasing(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 0 <= value[0] < value[1]:
            msg = "interval_days must be [low, high] with 0 <= low < high"
            raise ValueError(msg)
        return value


class Imaging(Strict):
    """Which CTs a patient has and how they become tensors.

    ``tilt``: what becomes of a series with uniform gantry tilt; ``correct`` undoes the shear in the one interpolation.
    """

    time_points: Annotated[tuple[TimePoint, ...], Field(min_length=1)]
    tilt: Literal["refuse", "correct"] = "refuse"
    quality: Quality = Quality()
    roi: Roi = Roi()
    grid: Grid

    @field_validator("time_points")
    @classmethod
    def _in_order_of_time(cls, value: tuple[TimePoint, ...]) -> tuple[TimePoint, ...]:
        if value not in {("pre",), ("post",), ("pre", "post")}:
            msg = "time points must differ from each other and stand in order of time: [pre, post], [pre] or [post]"
            raise ValueError(msg)
        return value


class Model(Strict):
    """The shared network: ``paired_cnn`` for studies with images, ``linear`` for clinical-only ones."""

    kind: Literal["paired_cnn", "linear"]
    widths: Annotated[tuple[Annotated[int, Field(ge=4, le=512)], ...], Field(min_length=1, max_length=6)] = (
        8,
        16,
        32,
    )
    embedding: Annotated[int, Field(ge=2, le=1024)] = 24
    hidden: Annotated[int, Field(ge=0, le=1024)] = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3


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


class Analysis(Strict):
    """The plan, fixed before the test set opens."""

    split: Split = Split()
    threshold: Literal["youden"] = "youden"
    histogram_bins: Annotated[int, Field(ge=10, le=200)] = 50
    explanation_groups: dict[Name, Annotated[tuple[Name, ...], Field(min_length=1)]] = {}


class Disclosure(Strict):
    """Floors that no site may go below; a site's own policy can only be stricter."""

    min_class_count: Annotated[int, Field(ge=1)] = 5


class Study(Strict):
    """A study file, checked. See configs/studies/escc-pcr.yaml for a commented one."""

    format: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{2,59}$")]
    title: str
    registration: str | None = None
    endpoint: Endpoint
    eligibility: Eligibility = Eligibility()
    prediction_time: Literal["baseline", "treatment", "second_ct"]
    covariates: dict[Name, Variable]
    recorded: dict[Name, Variable] = {}
    imaging: Imaging | None = None
    model: Model
    analysis: Analysis = Analysis()
    disclosure: Disclosure = Disclosure()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        # One after the other: the later checks rely on the names that the earlier ones have checked.
        for check in (_leaks, _unknown_names, _wrong_conditions, _wrong_model, _wrong_time_points, _wrong_groups):
            if faults := check(self):
                raise ValueError(faults[0])
        return self

    @property
    def variables(self) -> dict[str, Variable]:
        """Every variable a site's table is read for: covariates first, then the merely recorded."""
        return {**self.covariates, **self.recorded}

    @property
    def sha256(self) -> str:
        """Identity of the study: SHA-256 of its canonical JSON (sorted keys, defaults filled in).

        The order of covariates and groups is part of it, because it is the order of the model's inputs.
        """
        order = [list(self.covariates), list(self.analysis.explanation_groups)]
        document = {"study": self.model_dump(mode="json"), "order": order}
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_yaml(self) -> str:
        """The study as YAML text with every default filled in; parsing it gives an equal study."""
        import yaml

        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_study(source: str | Path) -> Study:
    """The study in a file, or a shipped one by its bare name (``escc-pcr``, ``heart-disease``).

    Raises:
        Refusal: no such study, or the file is not a valid one.

    """
    path = Path(source)
    if path.suffix in {".yaml", ".yml"} or os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises on long names
        return read_model(path, Study)
    shipped = shipped_studies()
    if str(source) not in shipped:
        raise Refusal(
            "unknown-study",
            f"no study named {str(source)!r}",
            f"give a YAML file or one of: {', '.join(shipped)}",
        )
    text = resources.files("fedescc.configs").joinpath("studies", f"{source}.yaml").read_text(encoding="utf-8")
    return parse_model(text, Study, f"study {source}")


def shipped_studies() -> list[str]:
    """Names of the studies that ship with fedescc."""
    folder = resources.files("fedescc.configs").joinpath("studies")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def _leaks(study: Study) -> list[str]:
    moment = _ORDER.index(study.prediction_time)
    scans = study.imaging.time_points if study.imaging else ()
    faults = [
        f"covariates.{name}: known only at {variable.available_at}, after the prediction ({study.prediction_time}); "
        "it would leak the outcome: move it to recorded"
        for name, variable in study.covariates.items()
        if _ORDER.index(variable.available_at) > moment
    ]
    faults += [
        f"covariates.{name}: a date cannot be a predictor; move it to recorded"
        for name, variable in study.covariates.items()
        if variable.type == "date"
    ]
    if "post" in scans and study.prediction_time != "second_ct":
        faults.append("imaging.time_points: there is no post CT yet at the prediction; use prediction_time: second_ct")
    return faults


def _unknown_names(study: Study) -> list[str]:
    faults = [f"{name}: both a covariate and recorded" for name in study.covariates if name in study.recorded]
    codes = {rule.code for rule in study.eligibility.inclusion + study.eligibility.exclusion}
    faults += [
        f"endpoint.contradictions.{rule.code}: an eligibility rule has this code too"
        for rule in study.endpoint.contradictions
        if rule.code in codes
    ]
    used = [(f"endpoint.{name}", name) for name in study.endpoint.positive_when]
    for where, rule in _rules(study):
        used += [(where, name) for name in rule.when]
    faults += [f"{where}: no variable of this name" for where, name in used if name not in study.variables]
    outcome = [name for name in study.endpoint.positive_when if name in study.covariates]
    return faults + [f"covariates.{name}: is part of the endpoint, so it cannot predict it" for name in outcome]


def _wrong_conditions(study: Study) -> list[str]:
    conditions = [("endpoint", name, condition) for name, condition in study.endpoint.positive_when.items()]
    for where, rule in _rules(study):
        conditions += [(where, name, condition) for name, condition in rule.when.items()]
    return [
        fault
        for where, name, condition in conditions
        for fault in _condition_faults(where, study.variables[name], condition)
    ]


def _rules(study: Study) -> list[tuple[str, Rule]]:
    """Every rule with conditions, and where it stands."""
    rules = [("eligibility", rule) for rule in study.eligibility.inclusion + study.eligibility.exclusion]
    rules += [("endpoint.contradictions", rule) for rule in study.endpoint.contradictions]
    return [(f"{where}.{rule.code}", rule) for where, rule in rules]


def _condition_faults(where: str, variable: Variable, condition: Condition) -> list[str]:
    bounds = [bound for bound in (condition.minimum, condition.maximum) if bound is not None]
    if isinstance(variable, CategoricalVariable):
        unknown = set(condition.one_of or ()) - set(variable.categories)
        if condition.one_of is None or unknown:
            return [f"{where}: needs one_of out of {', '.join(variable.categories)}"]
        return []
    kind = date if isinstance(variable, DateVariable) else float
    if condition.one_of is not None or any(not isinstance(bound, kind) for bound in bounds):
        return [f"{where}: needs minimum/maximum as a {'date' if kind is date else 'number'}"]
    return []


def _wrong_model(study: Study) -> list[str]:
    if study.model.kind == "paired_cnn" and study.imaging is None:
        return ["model.kind: paired_cnn needs an imaging section; use linear for a clinical-only study"]
    if study.model.kind == "linear" and study.imaging is not None:
        return ["model.kind: linear has no use for images; remove the imaging section or choose paired_cnn"]
    if study.imaging is None and not study.covariates:
        return ["covariates: a study without images needs at least one"]
    return []


def _wrong_time_points(study: Study) -> list[str]:
    built_in = {rule.built_in for rule in study.eligibility.inclusion + study.eligibility.exclusion}
    if study.imaging is None:
        without = built_in & {"ct_pre", "ct_post", "ct_quality", "roi"}
        return ["eligibility: CT rules need an imaging section"] if without else []
    used = {f"ct_{time_point}" for time_point in study.imaging.time_points}
    if unused := (built_in & {"ct_pre", "ct_post"}) - used:
        return [f"eligibility: {sorted(map(str, unused))[0]} is asked for and imaging.time_points lacks it"]
    if study.imaging.time_points == ("post",) and study.imaging.roi.post_rule != "drawn":
        return ["imaging.roi.post_rule: without a pre CT there is no ROI to propagate; use drawn"]
    return []


def _wrong_groups(study: Study) -> list[str]:
    groups = study.analysis.explanation_groups
    members = [name for group in groups.values() for name in group]
    if members and sorted(members) != sorted(study.covariates):
        return ["analysis.explanation_groups: every covariate belongs to exactly one group"]
    scans = len(study.imaging.time_points) if study.imaging else 0
    players = len(REGIONS) * scans + len(groups or study.covariates)
    if players > MAX_PLAYERS:
        what = f"{players} players, where exact Shapley values allow {MAX_PLAYERS}"
        return [f"analysis.explanation_groups: {what}; put the covariates into fewer groups"]
    return []
