"""Patients whose log odds follow what a plan assumes."""

import numpy as np


def drawn(score, patients, seed=0):
    """Outcomes and log odds of patients that follow the assumption."""
    rng = np.random.default_rng(seed)
    y = rng.random(patients) < score.prevalence
    centre = np.log(score.prevalence / (1 - score.prevalence))
    half = score.separation**2 / 2
    return y, rng.normal(centre + np.where(y, half, -half), score.separation)
