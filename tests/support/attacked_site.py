"""A site of a clinical study, and a coordinator's questions to it, for attacks that put its answers together."""

import numpy as np
from toy_federation import STUDY

from fedescc.client.answers.dispatch import answer
from fedescc.client.cohort import SiteCohort
from fedescc.client.local_site import LocalSite
from fedescc.client.site import ReleasePolicy
from fedescc.common.study import Study
from fedescc.common.tabular.columns import CategoricalColumns, NumericColumn
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.wire import Request
from fedescc.common.yamlfile import parse_model

MINIMUM = 5
RANKED = STUDY.replace("{type: numeric, unit: ng/mL", "{type: numeric, transform: quantile, unit: ng/mL")
TOY = parse_model(RANKED.replace("min_class_count: 3", f"min_class_count: {MINIMUM}"), Study, "toy")
ENCODING = Encoding(
    covariates=(
        NumericColumn(name="age", group="age", mean=50, sd=10),
        NumericColumn(name="marker", group="marker", mean=400, sd=100),
        CategoricalColumns(name="sex", group="sex", categories=("female", "male"), kept=("female", "male")),
    )
).model_dump(mode="json")
COEFFICIENTS = 8  # the intercept, two columns each of age and marker, three of sex


def cohort_of(seed: int, patients: int, missing: float = 0.1, positive: float = 0.4) -> SiteCohort:
    rng = np.random.default_rng(seed)
    marker = np.where(rng.random(patients) < missing, np.nan, rng.uniform(0, 900, patients))
    sex = np.where(rng.random(patients) < missing / 2, -1, rng.random(patients) < 0.3).astype(np.int16)
    return SiteCohort(
        keys=tuple(sorted(f"{number:064x}" for number in rng.integers(0, 2**62, patients))),
        labels=(rng.random(patients) < positive).astype(np.int8),
        numeric={"age": rng.uniform(30, 80, patients), "marker": marker},
        categorical={"sex": sex},
        split=np.array(["train", "validation", "test"])[np.arange(patients) % 3],
        images=None,
        rois=None,
        flow={"included": patients},
    )


def site_of(cohort: SiteCohort, **policy: object) -> LocalSite:
    return LocalSite("site-a", TOY, ReleasePolicy(min_class_count=MINIMUM, **policy), cohort)


def fold(index: int, of: int) -> dict[str, object]:
    return {"mode": "kfold", "index": index, "of": of}


def ask(site: LocalSite, message_type: str, **task: object):
    return answer(site, message_type, Request(TOY.sha256, {"run": "r1", **task})).sums
