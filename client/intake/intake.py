"""A hospital's files as its cohort: read, judge, prepare, and keep for the next time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort, SplitName
from fedescc.client.intake.cache import Prepared, clear_drafts, content_key, draft_folder, publish, read_cache
from fedescc.client.intake.cells import Value
from fedescc.client.intake.clinical import Clinical, PatientRow, clinical_path, read_clinical
from fedescc.client.intake.eligibility import INCLUDED, Decision, Scans, decide, flow
from fedescc.client.intake.keys import patient_keys, read_salt
from fedescc.client.intake.split import split_of
from fedescc.client.site import SiteFile
from fedescc.common import console
from fedescc.common.errors import Refusal
from fedescc.common.study import CategoricalVariable, NumericVariable, Study


@dataclass(frozen=True)
class IntakeResult:
    """What intake made of a site's files.

    Attributes:
        cohort: the eligible patients.
        flow: STARD counts: ``included`` and one count per reason, summing to the table's patients.
        warnings: remarks on the inputs, without identifiers.
        patients: the table's identifiers with every reason code, then what was wrong with which CT; empty for an
            included patient. Stays local.
        reused: whether the cohort came from the cache.

    """

    cohort: SiteCohort
    flow: dict[str, int]
    warnings: tuple[str, ...]
    patients: tuple[tuple[str, tuple[str, ...]], ...]
    reused: bool


def run_intake(site: SiteFile, study: Study, progress: console.OpenProgress = console.progress) -> IntakeResult:
    """Turn a site's table, CTs and masks into its cohort, or find the one made before.

    A patient who fails is excluded under a reason code and counted; nobody else is lost. The result lies under
    ``<work>/cache`` and is reused until the study, the settings or an input file changes.

    Args:
        site: the site file.
        study: decides what is read and who is eligible.
        progress: called with a description and a number of steps.

    Raises:
        Refusal: a file that cannot be used as a whole, or no eligible patient (``empty-site``).

    """
    clinical = read_clinical(site, study)
    _check_images(site, study)
    salt = read_salt(site.work)
    keys = patient_keys((row.patient_id for row in clinical.rows), salt)
    root = site.work / "cache"
    folder = root / content_key(site, study, salt, _inputs(site, study))
    clear_drafts(root)
    prepared = read_cache(folder)
    reused = prepared is not None
    if prepared is None:
        with draft_folder(root) as draft:
            made = _prepare(site, study, clinical, keys, draft, progress)
            prepared = publish(draft, folder, study, made)
    if len(prepared.cohort) == 0:
        raise _empty_site(prepared.cohort.flow)
    patients = tuple(
        (row.patient_id, prepared.codes.get(key, ())) for row, key in zip(clinical.rows, keys, strict=True)
    )
    return IntakeResult(prepared.cohort, prepared.cohort.flow, prepared.warnings, patients, reused)


def load_cohort(site: SiteFile, study: Study) -> SiteCohort:
    """The site's cohort, from the cache where nothing has changed.

    Raises:
        Refusal: as `run_intake`.

    """
    return run_intake(site, study).cohort


def _check_images(site: SiteFile, study: Study) -> None:
    if study.imaging is not None and site.settings.images is None:
        raise Refusal("no-images", f"study {study.name} needs CTs", "add an images section to the site file")


def _inputs(site: SiteFile, study: Study) -> list[Path]:
    images = site.settings.images
    if study.imaging is None or images is None:
        return [clinical_path(site)]
    folders = [images.dicom] if images.masks is None else [images.dicom, images.masks]
    return [clinical_path(site), *(site.path(folder) for folder in folders)]


def _prepare(
    site: SiteFile, study: Study, clinical: Clinical, keys: Sequence[str], draft: Path, progress: console.OpenProgress
) -> Prepared:
    """Judge every patient; with images, those who pass so far are prepared into ``draft`` and judged again."""
    patients = dict(sorted(zip(keys, clinical.rows, strict=True)))
    scans: Mapping[str, Scans] = {}
    warnings = clinical.warnings
    if study.imaging is not None:
        from fedescc.client.intake.scans import prepare_images

        scans, remarks = prepare_images(site, study, patients, draft, progress)
        warnings += remarks
    decisions = {key: decide(study, row.values, row.faults, scans.get(key)) for key, row in patients.items()}
    eligible = {key: patients[key] for key, decision in decisions.items() if not decision.codes}
    cohort = _cohort(study, eligible, decisions)
    codes = {
        key: decision.codes + (scans[key].details if key in scans else ())
        for key, decision in decisions.items()
        if decision.codes
    }
    return Prepared(cohort, codes, warnings)


def _cohort(study: Study, eligible: Mapping[str, PatientRow], decisions: Mapping[str, Decision]) -> SiteCohort:
    numeric, categorical = covariate_arrays(study, [row.values for row in eligible.values()])
    return SiteCohort(
        keys=tuple(eligible),
        labels=np.array([decisions[key].label for key in eligible], dtype=np.int8),
        numeric=numeric,
        categorical=categorical,
        split=np.array([_split(key, row, study) for key, row in eligible.items()], dtype="<U10"),
        images=None,
        rois=None,
        flow=flow(decisions.values()),
    )


def covariate_arrays(
    study: Study, patients: Sequence[Mapping[str, Value]]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.int16]]]:
    """Covariates as `SiteCohort` holds them, from each patient's values; an absent value is missing."""
    numeric = {
        name: np.array([values.get(name, np.nan) for values in patients], dtype=np.float64)
        for name, variable in study.covariates.items()
        if isinstance(variable, NumericVariable)
    }
    categorical = {
        name: np.array([_index(values.get(name), variable) for values in patients], dtype=np.int16)
        for name, variable in study.covariates.items()
        if isinstance(variable, CategoricalVariable)
    }
    return numeric, categorical


def _index(value: Value | None, variable: CategoricalVariable) -> int:
    return variable.categories.index(value) if isinstance(value, str) else -1


def _split(key: str, row: PatientRow, study: Study) -> SplitName:
    return row.split or split_of(key, study.analysis.split)


def _empty_site(counts: Mapping[str, int]) -> Refusal:
    reasons = ", ".join(f"{code} {count}" for code, count in counts.items() if code != INCLUDED)
    return Refusal(
        "empty-site",
        f"none of {sum(counts.values())} patients is eligible ({reasons})",
        "check clinical.values, dates and the CT export against the study",
    )
