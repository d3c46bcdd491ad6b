"""Extra test patients of the five sites, rendered once and kept memory-mapped beside the runs they judge."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedescc.client.features.store import with_features
from fedescc.common.console import progress
from fedescc.common.study import Study
from fedescc.common.tabular.features import NAMED_FEATURES
from fedescc.simulations.patients.cohort import held_out
from fedescc.simulations.patients.outcome import draw_outcome
from fedescc.simulations.patients.scanners import TEST_SITE, site_letter
from fedescc.simulations.patients.tensor_path import PhantomSet, latent_table, phantom_cohort, phantom_set

SIZES = (120, 70, 50, 35, 25)
TEST_PATIENTS = 2000


@dataclass(frozen=True)
class TestPatients:
    """A test set with the named image features, and the site (n,) whose scanner each patient came from."""

    phantom: PhantomSet
    sites: NDArray[np.str_]


def test_patients(folder: Path, seed: int, study: Study) -> TestPatients:
    """Rendered, or read again from ``folder``."""
    chosen = held_out(SIZES, TEST_PATIENTS)
    paths = [folder / name for name in ("images.npy", "rois.npy")]
    if not all(path.exists() for path in paths):
        _render(folder, paths, seed, chosen, study)
    outcomes = [draw_outcome(seed, site, index) for site, index in chosen]
    cohort = phantom_cohort(study, outcomes, *(np.load(path, mmap_mode="r") for path in paths))
    if study.imaging is None:
        raise ValueError(study.name)
    cohort = with_features(cohort, NAMED_FEATURES, study.imaging, folder)
    probability = np.array([outcome.probability for outcome in outcomes])
    sites = np.array([f"site-{site_letter(site - TEST_SITE)}" for site, _ in chosen])
    return TestPatients(PhantomSet(cohort, probability, latent_table(outcomes)), sites)


def of_site(patients: TestPatients, site: str) -> PhantomSet:
    """The patients of one site."""
    rows = np.flatnonzero(patients.sites == site)
    whole = patients.phantom
    split = np.full(len(whole.cohort), "train", dtype="<U10")
    split[rows] = "test"
    return PhantomSet(replace(whole.cohort, split=split), whole.probability[rows], whole.latents[rows])


def _render(folder: Path, paths: list[Path], seed: int, chosen: list[tuple[int, int]], study: Study) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with progress(f"extra test patients of seed {seed}", len(chosen)) as advance:
        made = phantom_set(seed, chosen, study, workers=os.cpu_count() or 1, advance=advance).cohort
    for path, array in zip(paths, (made.images, made.rois), strict=True):
        draft = path.with_suffix(".partial")
        with draft.open("wb") as file:
            np.save(file, array)
        draft.rename(path)
