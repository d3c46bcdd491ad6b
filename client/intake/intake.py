"""A hospital's files as its cohort: read, judge, prepare, and keep for the next time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedescc.client.cohort import SiteCohort, SplitName
from fedescc.client.intake.alone import alone
from fedescc.client.intake.disk.cache import Prepared, clear_drafts, content_key, draft_folder, publish, read_cache
from fedescc.client.intake.disk.record import PatientRecord, read_records, write_records
from fedescc.client.intake.eligibility import INCLUDED, Decision, Scans, decide, flow
from fedescc.client.intake.keys import patient_keys, read_salt
from fedescc.client.intake.order import last_date, temporal_order
from fedescc.client.intake.split import split_of
from fedescc.client.intake.table.cells import Value
from fedescc.client.intake.table.clinical import Clinical, PatientRow, clinical_path, read_clinical
from fedescc.client.site import SiteFile
from fedescc.common import console
from fedescc.common.analysis import kept_variables
from fedescc.common.errors import Refusal
from fedescc.common.protocol import CategoricalVariable, NumericVariable
from fedescc.common.study import Study

_UNEVEN_P = 0.01
_UNEVEN_BEDS = (
    "drawn and carried-over tumour beds are spread unevenly over the outcome, which the ROIs may then tell: have "
    "the same beds drawn for everyone, or none"
)


@dataclass(frozen=True)
class IntakeResult:
    """What intake made of a site's files.

    Attributes:
        cohort: the eligible patients.
        flow: STARD counts: ``included`` and one count per reason, summing to the table's patients.
        warnings: remarks on the inputs, without identifiers.
        patients: the table's identifiers with every reason code, then what was wrong with which CT; empty for an
            included patient. Stays local.
        records: the table's identifiers with findings and choices of series; empty in a study without images. Stays
            local.
        reused: whether the cohort came from the cache.

    """

    cohort: SiteCohort
    flow: dict[str, int]
    warnings: tuple[str, ...]
    patients: tuple[tuple[str, tuple[str, ...]], ...]
    records: Mapping[str, PatientRecord]
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
    result = examine(site, study, progress)
    if len(result.cohort) == 0:
        raise _empty_site(result.flow)
    return result


def examine(site: SiteFile, study: Study, progress: console.OpenProgress = console.progress) -> IntakeResult:
    """As `run_intake`, for who wants to know why nobody is eligible.

    Raises:
        Refusal: a file that cannot be used as a whole.

    """
    clinical = read_clinical(site, study)
    _check_images(site, study)
    salt = read_salt(site.work)
    keys = patient_keys((row.patient_id for row in clinical.rows), salt)
    folder = site.work / "cache" / content_key(site, study, salt, _inputs(site, study))
    kept = _read_kept(site, study, folder)
    if kept is None:
        with alone(site.work):
            # Another intake may just have made it.
            kept = _read_kept(site, study, folder)
            prepared, records = kept or _make(site, study, clinical, keys, folder, progress)
    else:
        prepared, records = kept
    names = dict(zip(keys, (row.patient_id for row in clinical.rows), strict=True))
    return IntakeResult(
        cohort=prepared.cohort,
        flow=prepared.cohort.flow,
        warnings=prepared.warnings,
        patients=tuple((name, prepared.codes.get(key, ())) for key, name in names.items()),
        records={names[key]: record for key, record in records.items()},
        reused=kept is not None,
    )


def _read_kept(site: SiteFile, study: Study, folder: Path) -> tuple[Prepared, Mapping[str, PatientRecord]] | None:
    prepared, records = read_cache(folder), read_records(site.work, study.name, folder.name)
    return None if prepared is None or records is None else (prepared, records)


def _make(
    site: SiteFile,
    study: Study,
    clinical: Clinical,
    keys: Sequence[str],
    folder: Path,
    progress: console.OpenProgress,
) -> tuple[Prepared, Mapping[str, PatientRecord]]:
    """Prepare the cohort anew. One that another try may mend gets no record, and so is tried again the next time."""
    clear_drafts(folder.parent)
    with draft_folder(folder.parent) as draft:
        made, records, final = _prepare(site, study, clinical, keys, draft, progress)
        prepared = publish(draft, folder, study, made)
        if final:
            write_records(site.work, study.name, folder.name, records)
    return prepared, records


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
    paths = [path for path in (images.dicom, images.masks, images.overrides) if path is not None]
    return [clinical_path(site), *map(site.path, paths)]


def _prepare(
    site: SiteFile, study: Study, clinical: Clinical, keys: Sequence[str], draft: Path, progress: console.OpenProgress
) -> tuple[Prepared, Mapping[str, PatientRecord], bool]:
    """Judge every patient; with images, those who pass so far are prepared into ``draft`` and judged again."""
    patients = dict(sorted(zip(keys, clinical.rows, strict=True)))
    scans: Mapping[str, Scans] = {}
    records: Mapping[str, PatientRecord] = {}
    scan_codes: Mapping[str, Mapping[str, str]] = {}
    warnings, final = clinical.warnings, True
    if study.imaging is not None:
        from fedescc.client.intake.scans import prepare_images

        images = prepare_images(site, study, patients, draft, progress)
        scans, records, scan_codes, final = images.scans, images.records, images.codes, images.final
        warnings += images.remarks
    decisions = {key: decide(study, row.values, row.faults, scans.get(key)) for key, row in patients.items()}
    eligible = {key: patients[key] for key, decision in decisions.items() if not decision.codes}
    order = temporal_order([last_date(study, row.values, scans.get(key)) for key, row in eligible.items()])
    acquisition = _acquisition(study, eligible, scan_codes, records)
    cohort = replace(_cohort(study, eligible, decisions), order=order, acquisition=acquisition)
    codes = {
        key: decision.codes + (scans[key].details if key in scans else ())
        for key, decision in decisions.items()
        if decision.codes
    }
    carried = [records[key].propagated for key in eligible if key in records]
    warnings += source_remarks(carried, cohort.labels.tolist()) if carried else ()
    return Prepared(cohort, codes, warnings), records, final


def source_remarks(propagated: Sequence[bool | None], labels: Sequence[int]) -> tuple[str, ...]:
    """A warning where drawn and carried-over tumour beds are spread unevenly over the outcome.

    Readers who correct the beds of non-responders more often would write the outcome into the ROIs. Fisher's exact
    test (two-sided) on source and outcome; a p-value below 0.01 warns.

    Args:
        propagated: of every included patient, whether the second CT's ROI was carried over.
        labels: the same patients' outcome.

    """
    from scipy.stats import fisher_exact

    table = np.zeros((2, 2), np.int64)
    for source, label in zip(propagated, labels, strict=True):
        if source is not None:
            table[int(source), label] += 1
    if fisher_exact(table).pvalue >= _UNEVEN_P:
        return ()
    return (_UNEVEN_BEDS,)


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


def _acquisition(
    study: Study,
    eligible: Iterable[str],
    codes: Mapping[str, Mapping[str, str]],
    records: Mapping[str, PatientRecord],
) -> dict[str, NDArray[Any]]:
    """How the eligible patients' scans were acquired; nothing in a study without images."""
    if study.imaging is None:
        return {}
    from fedescc.client.acquisition.facts import acquisition_arrays

    keys = list(eligible)
    measures = [records[key].measures for key in keys]
    return acquisition_arrays(study.imaging.time_points, [codes[key] for key in keys], measures)


def covariate_arrays(
    study: Study, patients: Sequence[Mapping[str, Value]]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.int16]]]:
    """Covariates, and what else subgroups go by, as `SiteCohort` holds them; a patient's absent value is missing."""
    kept = kept_variables(study)
    numeric = {
        name: np.array([values.get(name, np.nan) for values in patients], dtype=np.float64)
        for name, variable in kept.items()
        if isinstance(variable, NumericVariable)
    }
    categorical = {
        name: np.array([_index(values.get(name), variable) for values in patients], dtype=np.int16)
        for name, variable in kept.items()
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
        "see what is left to do with fedescc-client worklist, and check clinical.values and dates against the study",
    )
