"""One patient's CTs from candidates to tensors: choose, find the ROIs, check, and resample."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeVar

import numpy as np

from fedescc.client.acquisition.facts import scan_codes
from fedescc.client.imaging.masks.contours import Mask
from fedescc.client.imaging.preprocess import Preprocessed, grid_spec, preprocess
from fedescc.client.imaging.quality.contrast import judge_contrast
from fedescc.client.imaging.quality.enhancement import Enhancement, measure_enhancement
from fedescc.client.imaging.quality.findings import ScanQuality, check_pair, check_scan
from fedescc.client.imaging.quality.kernels import is_sharp, kernel_class
from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.client.imaging.volumes.series import Series
from fedescc.client.imaging.volumes.volume import CtVolume, open_volume
from fedescc.client.intake.choice import Choice, Look, choose
from fedescc.client.intake.disk.parts import Part, Tensors
from fedescc.client.intake.rois.bed import Baseline, find_bed
from fedescc.client.intake.rois.mask_folder import MaskFolder
from fedescc.client.intake.table.overrides import LOW_SIMILARITY, Override, accepted
from fedescc.common.errors import Refusal
from fedescc.common.imaging import Imaging, TimePoint

_WHOLE_SHARE = 0.999  # a voxel or two beyond the grid's border are no loss
_ROI_CODES = frozenset({"empty_roi", "roi_exceeds_grid"})
_KERNELS: dict[bool | None, Literal["soft", "sharp", "unknown"]] = {False: "soft", True: "sharp", None: "unknown"}
Result = TypeVar("Result")


@dataclass(frozen=True)
class Task:
    """One patient to prepare.

    Attributes:
        patient_id: as in the clinical table; names the folder of label maps.
        candidates: the series of which each time point's is one.
        masks: the patient's.
        imaging: the study's rules.
        overrides: a person's decisions about the patient.
        days: between the two CTs; None where that is not known.

    """

    patient_id: str
    candidates: dict[TimePoint, tuple[Series, ...]]
    masks: MaskFolder
    imaging: Imaging
    overrides: tuple[Override, ...] = ()
    days: int | None = None


def prepare_patient(task: Task) -> tuple[Part, Tensors | None]:
    """What became of a patient's CTs, and the tensors of one who stays in; never raises for what a file holds."""
    with quiet_pydicom():
        try:
            return _Preparation(task).run()
        except Exception as error:  # noqa: BLE001 - whatever one patient's file does, the others go on
            return Part(quality=(f"unexpected_{type(error).__name__}",)), None


def died() -> tuple[Part, Tensors | None]:
    """The result for a patient whose files end the process that reads them."""
    return Part(quality=("reader_died",)), None


@dataclass
class _Scan:
    """One time point's CT while it is worked on."""

    series: Series
    volume: CtVolume
    roi: Mask | None = None
    nodes: Mask | None = None
    check: ScanQuality | None = None


@dataclass
class _Preparation:
    task: Task
    quality: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    propagated: bool | None = None

    def run(self) -> tuple[Part, Tensors | None]:
        used = (one for one in self.task.overrides if one.time_point in self.task.candidates)
        self.notes += [one.note for one in used if one.action == "use_series"]
        choice = self._choose()
        scans = {point: _Scan(series, open_volume(series)) for point, series in choice.series.items()}
        self._find_rois(scans)
        self._check(scans)
        done = {} if self.quality or self.details else {point: self._resample(point, scans[point]) for point in scans}
        made = [one for one in done.values() if one is not None]
        complete = len(made) == len(scans)
        part = Part(
            quality=tuple(self.quality),
            roi=not self.details,
            details=tuple(self.details),
            notes=tuple(dict.fromkeys(self.notes)),
            cut=complete and min(one.share_in_grid for one in made) < _WHOLE_SHARE,
            propagated=self.propagated,
            chosen={point: _place(series, self.task.candidates[point]) for point, series in choice.series.items()},
            lost=tuple((point, _place(one, self.task.candidates[point]), code) for point, one, code in choice.lost),
            measures=self.measures,
            codes=self.codes,
        )
        return part, _tensors(made) if complete else None

    def _choose(self) -> Choice:
        def drawn(point: TimePoint, series: Series) -> bool:
            return self.task.masks.drawn(self.task.patient_id, point, series)

        bound = self.task.imaging.quality.max_enhancement_difference_hu
        return choose(self.task.candidates, drawn, _look, bound)

    def _find_rois(self, scans: dict[TimePoint, _Scan]) -> None:
        """Baseline tumour and nodes as drawn; the tumour bed as drawn, else carried over from the baseline."""
        for point in scans:
            self._attempt(point, partial(self._find_roi, point, scans), of_roi=True)

    def _find_roi(self, point: TimePoint, scans: dict[TimePoint, _Scan]) -> None:
        scan, pre = scans[point], scans.get("pre")
        if point == "pre":
            scan.roi = self._drawn(point, scan.series)
            scan.nodes = self.task.masks.read_nodes(self.task.patient_id, scan.series)
            return
        baseline = Baseline(pre.volume, pre.roi, pre.nodes) if pre is not None and pre.roi is not None else None
        rule = self.task.imaging.roi.post_rule
        bed = find_bed(lambda: self._drawn(point, scan.series), baseline, scan.volume, rule)
        scan.roi, scan.nodes, self.propagated = bed.roi, bed.nodes, bed.propagated
        if bed.similarity is not None:
            self.measures[f"{point}.similarity"] = bed.similarity
            if bed.similarity < self.task.imaging.roi.min_similarity:
                self._refuse_or_note(point, LOW_SIMILARITY, self.details)

    def _drawn(self, point: TimePoint, series: Series) -> Mask:
        found = self.task.masks.read(self.task.patient_id, point, series)
        self.notes += [f"{point}:{code}" for code in found.warnings]
        return found.voxels

    def _check(self, scans: dict[TimePoint, _Scan]) -> None:
        rules = self.task.imaging.quality
        for point, scan in scans.items():
            self._attempt(point, partial(self._check_scan, point, scan), of_roi=False)
        pre, post = scans.get("pre"), scans.get("post")
        if pre and post and pre.check and post.check:
            codes = check_pair(pre.check, post.check, pre.series.rows, post.series.rows, self.task.days, rules)
            for code in codes:
                self._judge("post", code)

    def _check_scan(self, point: TimePoint, scan: _Scan) -> None:
        rows = scan.series.rows
        scan.check = check_scan(scan.volume, rows, scan.roi, self.task.imaging.quality)
        measured = {name: value for name, value in vars(scan.check).items() if isinstance(value, float)}
        self.measures |= {f"{point}.{name}": value for name, value in measured.items()}
        contrast = judge_contrast(Enhancement(scan.check.enhancement, scan.check.blood_hu), rows)
        self.codes |= {f"{point}.{name}": code for name, code in scan_codes(rows, contrast.verdict).items()}
        self.notes += [f"{point}:{code}" for code in (*scan.series.warnings, *contrast.warnings)]
        codes = dict.fromkeys(scan.check.codes)
        # Where the image does not tell, and only there, the tags' word counts.
        if contrast.verdict == "plain" and "hu_implausible" not in codes:
            codes["not_enhanced"] = None
        for code in codes:
            self._judge(point, code)

    def _judge(self, point: TimePoint, code: str) -> None:
        if code in self.task.imaging.quality.refuse:
            self._refuse_or_note(point, code, self.quality)
        else:
            self.notes.append(f"{point}:{code}")

    def _refuse_or_note(self, point: TimePoint, code: str, refusals: list[str]) -> None:
        """A finding that excludes, unless a person accepts it."""
        if code in accepted(self.task.overrides, point):
            self.notes += [f"{point}:override:accept:{code}", f"{point}:{code}"]
        else:
            refusals.append(f"{point}:{code}")

    def _resample(self, point: TimePoint, scan: _Scan) -> Preprocessed | None:
        imaging = self.task.imaging

        def work() -> Preprocessed:
            assert scan.roi is not None
            spec, least = grid_spec(imaging.grid), imaging.roi.min_share_in_grid
            return preprocess(scan.volume, scan.roi, spec, more=scan.nodes, min_share_in_grid=least)

        return self._attempt(point, work, of_roi=False)

    def _attempt(self, point: TimePoint, work: Callable[[], Result], *, of_roi: bool) -> Result | None:
        """Do a step; what it fails for is noted under its time point."""
        try:
            return work()
        except Refusal as refusal:
            code = refusal.code
        except Exception as error:  # noqa: BLE001 - whatever one patient's file does, the others go on
            code = f"unexpected_{type(error).__name__}"
        (self.details if of_roi or code in _ROI_CODES else self.quality).append(f"{point}:{code}")
        return None


def _look(series: Series) -> Look:
    """Enhancement and kernel of a candidate; one whose pixels cannot be read shows nothing."""
    first = series.rows[0]
    kernel = _KERNELS[is_sharp(kernel_class(first.kernel, first.manufacturer))]
    try:
        measured = measure_enhancement(open_volume(series))
    except Refusal:
        return Look("unknown", None, kernel)
    contrast = judge_contrast(measured, series.rows)
    return Look(contrast.verdict, contrast.blood_hu, kernel)


def _place(series: Series, candidates: Sequence[Series]) -> int:
    return next(place for place, one in enumerate(candidates) if one is series)


def _tensors(made: Sequence[Preprocessed]) -> Tensors:
    return Tensors(np.stack([one.image for one in made]).astype(np.float16), np.stack([one.roi for one in made]))
