"""The study: one YAML file whose canonical hash is its identity.

Everything that decides what is learned and from whom is here: endpoint, eligibility, covariates, images,
model, analysis plan and disclosure rules. Server and sites refuse to talk under different hashes.
"""

import hashlib
import json
import os
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedescc.common.analysis import Analysis, Split, plan_faults
from fedescc.common.errors import Refusal
from fedescc.common.imaging import Imaging
from fedescc.common.protocol import (
    CategoricalVariable,
    Condition,
    DateVariable,
    Eligibility,
    Endpoint,
    Moment,
    Name,
    Rule,
    Variable,
)
from fedescc.common.statistics.shapley import MAX_PLAYERS
from fedescc.common.yamlfile import Strict, parse_model, read_model

# With the plan's parts, which are of the study to whoever reads one.
__all__ = [
    "FEATURE_GROUP",
    "REGIONS",
    "Analysis",
    "Disclosure",
    "Model",
    "Split",
    "Study",
    "read_study",
    "shipped_studies",
]

REGIONS = ("tumour", "rim", "rest")  # of a scan, explained apart
FEATURE_GROUP = "image_features"  # explained as one player
_DENSENET_VOXELS = 32
_ORDER: tuple[Moment, ...] = ("baseline", "treatment", "second_ct", "surgery", "pathology")


class Model(Strict):
    """The shared network: ``paired_cnn`` for studies with images, ``linear`` for clinical-only ones."""

    kind: Literal["paired_cnn", "linear"]
    widths: Annotated[tuple[Annotated[int, Field(ge=4, le=512)], ...], Field(min_length=1, max_length=6)] = (
        8,
        16,
        32,
    )
    embedding: Annotated[int, Field(ge=2, le=1024)] = 24
    hidden: Annotated[int, Field(ge=0, le=1024)] = 0  # units of the fusion's hidden layer; 0: none, a linear fusion
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    encoder: Literal["cells", "resnet10", "resnet18", "resnet34", "densenet121"] = "cells"  # the others are MONAI's
    rim_mm: Annotated[float, Field(ge=0, le=30)] = 0.0  # > 0: the peritumoural rim is an input channel of its own
    image_features: tuple[Name, ...] = ()  # named features of common/tabular/features.py that join the fusion


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
        order = (
            _leaks, _unknown_names, _wrong_conditions, _wrong_model, _wrong_time_points, _wrong_features, _wrong_groups,
            plan_faults,
        )  # fmt: skip
        for check in order:
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

        The order of covariates, groups and subgroups is part of it, because it is the order of the model's inputs and
        of sums on the wire.
        """
        order = [list(self.covariates), *self.analysis.order]
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
    if study.imaging and study.model.encoder == "densenet121" and min(study.imaging.grid.size_zyx) < _DENSENET_VOXELS:
        return [f"model.encoder: densenet121 halves the grid five times: give at least {_DENSENET_VOXELS} voxels"]
    return []


def _wrong_features(study: Study) -> list[str]:
    from fedescc.common.tabular.features import NAMED_FEATURES, RADIOMIC_FEATURES

    names, known = study.model.image_features, NAMED_FEATURES | RADIOMIC_FEATURES
    scans = study.imaging.time_points if study.imaging else ()
    if names and FEATURE_GROUP in {*study.covariates, *study.analysis.explanation_groups}:
        return [f"model.image_features: {FEATURE_GROUP} is their group's name; rename the covariate or group"]
    for name in names:
        needed = {"pre": {"pre"}, "post": {"post"}, "change": {"pre", "post"}}.get(name.rpartition("_")[2], set())
        if name not in known:
            return [f"model.image_features: no feature named {name!r}; see common/tabular/features.py"]
        if name in study.variables or names.count(name) > 1:
            return [f"model.image_features: {name!r} names two inputs"]
        if not needed <= set(scans):
            return [f"model.image_features: {name!r} needs the time points {', '.join(sorted(needed))}"]
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
    players = len(REGIONS) * scans + len(groups or study.covariates) + bool(study.model.image_features)
    if players > MAX_PLAYERS:
        what = f"{players} players, where exact Shapley values allow {MAX_PLAYERS}"
        return [f"analysis.explanation_groups: {what}; put the covariates into fewer groups"]
    return []
