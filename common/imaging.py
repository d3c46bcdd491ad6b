"""What a study asks of CTs: which there are, what makes one doubtful, the ROI and the model's grid."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from fedescc.common.yamlfile import Strict

TimePoint = Literal["pre", "post"]
LANDMARK_WINDOW_HU = (-150.0, 250.0)  # shows fat, and blood as most protocols enhance it


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
    ``harmonisation``: ``landmarks`` brings every scan's fat and contrast medium to the federation's mean intensities
    before the network sees it.
    """

    time_points: Annotated[tuple[TimePoint, ...], Field(min_length=1)]
    tilt: Literal["refuse", "correct"] = "refuse"
    quality: Quality = Quality()
    roi: Roi = Roi()
    grid: Grid
    harmonisation: Literal["none", "landmarks"] = "none"

    @field_validator("time_points")
    @classmethod
    def _in_order_of_time(cls, value: tuple[TimePoint, ...]) -> tuple[TimePoint, ...]:
        if value not in {("pre",), ("post",), ("pre", "post")}:
            msg = "time points must differ from each other and stand in order of time: [pre, post], [pre] or [post]"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _shows_the_landmarks(self) -> Self:
        low, high = self.grid.window_hu
        least_low, least_high = LANDMARK_WINDOW_HU
        if self.harmonisation == "landmarks" and not (low < least_low and high >= least_high):
            msg = f"harmonisation needs a window_hu from below {least_low:g} to {least_high:g} HU or more"
            raise ValueError(msg)
        return self
