"""A large synthetic test set beside the hospitals' small ones, with the generator's own ceilings."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort
from fedescc.client.intake.keys import patient_keys, read_salt
from fedescc.client.site import SiteFile
from fedescc.common.statistics.roc import auc
from fedescc.simulations.comparison.ceilings import latent_regression, trivial_cues
from fedescc.simulations.comparison.comparators import Scorer, auc_entry
from fedescc.simulations.patients.outcome import LATENTS
from fedescc.simulations.patients.tensor_path import PhantomSet

LOCAL_PREFIX = "local:"


def synthetic_test_entry(
    models: Mapping[str, Scorer],
    test: PhantomSet,
    training_latents: NDArray[np.float64],
    training_labels: NDArray[np.int8],
) -> dict[str, Any]:
    """AUC of every model on the same large test set, beside both ceilings and the trivial cues.

    Args:
        models: ``federated`` and others by name; ``local:<site>`` for a site's own.
        test: test patients from the generator, mixed as the sites are.
        training_latents: (n, k) true latents of the federation's training patients.
        training_labels: (n,) their labels.

    """
    y = test.cohort.labels
    rows = test.cohort.rows("test")
    scores = {name: fitted.logits(test.cohort, rows) for name, fitted in models.items()}
    local = {n.removeprefix(LOCAL_PREFIX): auc_entry(y, s) for n, s in scores.items() if n.startswith(LOCAL_PREFIX)}
    entry: dict[str, Any] = {n: auc_entry(y, s) for n, s in scores.items() if not n.startswith(LOCAL_PREFIX)}
    entry["local_only"] = local
    entry["local_only_mean"] = float(np.mean([site["auc"] for site in local.values()])) if local else None
    ceiling = latent_regression(training_latents, training_labels, test.latents)
    entry["ceiling_latent_regression"] = auc_entry(y, ceiling)
    entry["ceiling_bayes"] = auc_entry(y, test.probability)
    cues = {name: auc(y, score).value for name, score in trivial_cues(test.cohort).items()}
    return {"n": len(y), "n_pos": int(y.sum()), "auc": entry, "trivial_cues": cues}


def training_truth(
    folder: Path, files: Mapping[str, SiteFile], cohorts: Mapping[str, SiteCohort]
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """True latents (n, k) and labels (n,) of the sites' training patients, out of a cohort's ``truth.csv``."""
    with (folder / "truth.csv").open(encoding="utf-8", newline="") as file:
        truth = list(csv.DictReader(file))
    latents: list[list[float]] = []
    labels: list[int] = []
    for name, cohort in cohorts.items():
        own = [row for row in truth if row["site"] == name]
        keys = patient_keys((row["patient_id"] for row in own), read_salt(files[name].work))
        by_key = dict(zip(keys, own, strict=True))
        for index in cohort.rows("train"):
            latents.append([float(by_key[cohort.keys[index]][latent]) for latent in LATENTS])
            labels.append(int(cohort.labels[index]))
    return np.array(latents), np.array(labels, dtype=np.int8)
