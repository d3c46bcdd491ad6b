"""The toy study with an analysis plan, and every model of a toy run scored here on the pooled patients."""

import numpy as np
import yaml
from toy_federation import STUDY, make_cohort

from fedescc.client.site import ReleasePolicy
from fedescc.common.arrays import load_safetensors
from fedescc.common.study import Study
from fedescc.common.tabular.covariates import Encoding
from fedescc.common.yamlfile import parse_model
from fedescc.server.results import read_json

COMPARED = {"comparators": ["clinical"], "compared_with": "clinical"}
PLAN = {
    "partial_auc": 0.2,
    "decision_thresholds": [0.1, 0.2, 0.3, 0.4, 0.6],
    "subgroups": {"sex": {"variable": "sex"}, "age": {"variable": "age", "cuts": [55]}},
}
LARGE = {"site-a": 420, "site-b": 360, "site-c": 300, "site-d": 330}  # every site can show every level


def enlarge(toy):
    """Give the toy federation's sites enough patients for subgroups."""
    toy.cohorts = {name: make_cohort(name, n) for name, n in LARGE.items()}
    return toy


def with_plan(toy, **analysis):
    """Give the toy federation's study an analysis plan, and let its sites fit the planned comparator."""
    document = yaml.safe_load(STUDY) | {"analysis": PLAN | analysis}
    toy.study = parse_model(yaml.safe_dump(document, sort_keys=False), Study, "toy")
    policy = ReleasePolicy(min_class_count=3, score_histogram="plain", small_newton="plain")
    toy.policies = dict.fromkeys(toy.cohorts, policy)
    return toy


def fold_scores(toy, fold="split", split="test"):
    """Model -> labels (n,) and logits (n,) of all sites' patients; and the site of each patient, as an index."""
    folder = toy.out / "folds" / fold
    arrays, metadata = load_safetensors(folder / "model.safetensors")
    network = np.r_[arrays["linear.bias"][0], arrays["linear.weight"][0]]
    models = {"federated": (Encoding.model_validate_json(metadata["encoding"]), network)}
    for name, model in read_json(folder / "results.json")["comparator_models"].items():
        if model["encoding"] is not None:
            models[name] = Encoding.model_validate(model["encoding"]), np.float32(model["coefficients"])
    site = np.concatenate([np.full(len(c.rows(split)), i) for i, c in enumerate(toy.cohorts.values())])
    return {name: _scored(toy, *model, split) for name, model in models.items()}, site


def binned(toy, name, logit, fold="split"):
    """Logits as the bins that they fall into, over the edges that the run locked."""
    edges = read_json(toy.out / "folds" / fold / "opening.json")["models"][name]["edges"]
    return np.searchsorted(edges, logit, side="right"), np.array(edges)


def _scored(toy, encoding, coefficients, split):
    labels, logits = [], []
    for cohort in toy.cohorts.values():
        rows = cohort.rows(split)
        x = encoding.encode(cohort.numeric, cohort.categorical, rows).astype(np.float64)
        labels.append(cohort.labels[rows])
        logits.append(x @ np.float64(coefficients[1:]) + np.float64(coefficients[0]))
    return np.concatenate(labels), np.concatenate(logits)
