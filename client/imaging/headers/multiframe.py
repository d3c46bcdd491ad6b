"""Frames of an enhanced multi-frame CT object as rows of their own, from its functional groups."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fedescc.client.imaging.headers.header import NATIVE_SYNTAXES, DicomRow
from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.common.errors import Refusal

if TYPE_CHECKING:
    from pydicom import Dataset

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_CONVERTED_CT = "1.2.840.10008.5.1.4.1.1.2.2"
MULTIFRAME_CT = frozenset({ENHANCED_CT, LEGACY_CONVERTED_CT})

_SHARED = "SharedFunctionalGroupsSequence"
_PER_FRAME = "PerFrameFunctionalGroupsSequence"
# A converter of single-frame images puts here, unsorted, what no functional group holds (PS3.3 C.7.6.16.2.25, .26).
_UNASSIGNED = ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence")
_HEADER = (_SHARED, _PER_FRAME, "ConcatenationUID", "InConcatenationTotalNumber", "ContrastBolusAgentSequence")
# What these say of a frame that is no plain slice is told by its image type in a single-frame image.
_PLAIN = frozenset({"", "NONE", "VOLUME"})


def frame_rows(row: DicomRow) -> tuple[DicomRow, ...]:
    """One row a frame, numbered from 1, each as if the frame were a single-frame image.

    A value is taken from the frame's own functional group, else from the shared one (PS3.3 C.7.6.16), and for what a
    converter left unassigned from there. Geometry and rescale come from the groups alone; a frame without them has
    None there and is judged like an image without them. ``image_type`` is Frame Type (0008,9007), followed by what
    Volumetric Properties and Volume Based Calculation Technique say of a frame that is no plain slice;
    ``instance_number`` the position in the stack or, without one, the frame's number; ``pixel_offset`` in native pixel
    data the frame's own, in encapsulated data still the start of Pixel Data.

    Args:
        row: a file of a class in ``MULTIFRAME_CT``.

    Raises:
        Refusal: missing_functional_groups, frame_count_mismatch, concatenation (part of an object in several files:
            nothing in a part tells whether the others are there) or unreadable_functional_groups.

    """
    try:
        with quiet_pydicom():
            return _rows(row, _read(row))
    except Refusal:
        raise
    except Exception as error:
        raise Refusal(
            "unreadable_functional_groups", f"{row.file}: {type(error).__name__}", "export it again"
        ) from error


def _read(row: DicomRow) -> "Dataset":
    from pydicom import dcmread

    return dcmread(row.path, stop_before_pixels=True, force=True, specific_tags=list(_HEADER))


def _rows(row: DicomRow, header: "Dataset") -> tuple[DicomRow, ...]:
    if "ConcatenationUID" in header and header.get("InConcatenationTotalNumber") != 1:
        raise Refusal("concatenation", f"{row.file} is a part of a multi-frame object", "export single-frame images")
    own, shared = _items(header, _PER_FRAME), _items(header, _SHARED)[:1]
    if not own:
        raise Refusal("missing_functional_groups", f"{row.file} describes no frames", "export single-frame images")
    if len(own) != row.frames:
        raise Refusal("frame_count_mismatch", f"{row.file}: {row.frames} frames, {len(own)} described", "export again")
    agent = _agent(header)
    return tuple(_row(row, number, _Groups([item, *shared]), agent) for number, item in enumerate(own, start=1))


def _items(header: "Dataset", keyword: str) -> list["Dataset"]:
    from pydicom.sequence import Sequence as Items

    value = header.get(keyword)
    if value is not None and not isinstance(value, Items):
        raise TypeError(keyword)
    return list(value or ())


def _row(row: DicomRow, number: int, groups: "_Groups", agent: str) -> DicomRow:
    content, rescale, measures = "FrameContentSequence", "PixelValueTransformationSequence", "PixelMeasuresSequence"
    acquired = groups.text(content, "FrameAcquisitionDateTime")
    loose = groups.integer("", "AcquisitionNumber"), groups.integer("", "TemporalPositionIdentifier")
    return row._replace(
        frame=number,
        pixel_offset=_offset(row, number),
        instance_number=_first(groups.integer(content, "InStackPositionNumber"), number),
        acquisition_time=acquired[8:] or groups.text("", "AcquisitionTime") or row.acquisition_time,
        position=groups.numbers("PlanePositionSequence", "ImagePositionPatient", 3),
        orientation=groups.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6),
        pixel_spacing=groups.numbers(measures, "PixelSpacing", 2),
        slope=groups.number(rescale, "RescaleSlope"),
        intercept=groups.number(rescale, "RescaleIntercept"),
        rescale_type=groups.text(rescale, "RescaleType"),
        image_type=_image_type(groups) or row.image_type,
        acquisition_number=_first(groups.integer(content, "FrameAcquisitionNumber"), loose[0], row.acquisition_number),
        acquisition_date=acquired[:8] or groups.text("", "AcquisitionDate") or row.acquisition_date,
        temporal_position=_first(groups.integer(content, "TemporalPositionIndex"), loose[1], row.temporal_position),
        stack_id=groups.text(content, "StackID"),
        phase_percent=_first(*_phases(groups), row.phase_percent),
        contrast_agent=_contrast(groups, agent or groups.text("", "ContrastBolusAgent") or row.contrast_agent),
        kernel=_kernel(groups) or row.kernel,
        slice_thickness_mm=_first(groups.number(measures, "SliceThickness"), row.slice_thickness_mm),
        kvp=_first(groups.number("CTXRayDetailsSequence", "KVP"), groups.number("", "KVP"), row.kvp),
    )


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _offset(row: DicomRow, number: int) -> int | None:
    if row.pixel_offset is None or row.transfer_syntax not in NATIVE_SYNTAXES:
        return row.pixel_offset
    size = row.rows * row.columns * row.samples_per_pixel * row.bits_allocated // 8
    return row.pixel_offset + (number - 1) * size


def _image_type(groups: "_Groups") -> tuple[str, ...]:
    sequence = "CTImageFrameTypeSequence"
    kind = groups.texts(sequence, "FrameType")
    extra = [groups.text(sequence, k) for k in ("VolumetricProperties", "VolumeBasedCalculationTechnique")]
    return (*kind, *(value for value in extra if value not in _PLAIN)) if kind else ()


def _agent(header: "Dataset") -> str:
    """Names of the contrast agents of the whole object, from their codes (PS3.3 C.7.6.4b)."""
    agents = header.get("ContrastBolusAgentSequence") or ()
    return ", ".join(str(agent.get("CodeMeaning") or agent.get("CodeValue") or "unnamed") for agent in agents)


def _contrast(groups: "_Groups", agent: str) -> str:
    """The agent, unless the frame says that none had been given when it was acquired."""
    return "" if groups.text("ContrastBolusUsageSequence", "ContrastBolusAgentAdministered") == "NO" else agent


def _phases(groups: "_Groups") -> Iterable[float | None]:
    for cycle in ("Cardiac", "Respiratory"):
        yield groups.number(f"{cycle}SynchronizationSequence", f"NominalPercentageOf{cycle}Phase")


def _kernel(groups: "_Groups") -> str:
    return groups.text("CTReconstructionSequence", "ConvolutionKernel") or groups.text("", "ConvolutionKernel")


class _Groups:
    """Typed values of one frame's functional groups: its own item first, then the shared one.

    A group is named by its sequence; "" stands for what a converter left unassigned.
    """

    def __init__(self, items: Sequence["Dataset"]) -> None:
        self._items = items

    def numbers(self, sequence: str, keyword: str, count: int) -> tuple[float, ...] | None:
        """``count`` numbers; None where absent, short or no number."""
        try:
            values = tuple(float(value) for value in self._values(sequence, keyword))
        except (TypeError, ValueError):
            return None
        return values if len(values) == count else None

    def number(self, sequence: str, keyword: str) -> float | None:
        values = self.numbers(sequence, keyword, 1)
        return None if values is None else values[0]

    def integer(self, sequence: str, keyword: str) -> int | None:
        try:
            return int(str(next(iter(self._values(sequence, keyword)), "")))
        except ValueError:
            return None

    def texts(self, sequence: str, keyword: str) -> tuple[str, ...]:
        return tuple(str(value).strip() for value in self._values(sequence, keyword))

    def text(self, sequence: str, keyword: str) -> str:
        return "\\".join(self.texts(sequence, keyword))

    def _values(self, sequence: str, keyword: str) -> Iterable[Any]:
        from pydicom.multival import MultiValue

        for name in (sequence,) if sequence else _UNASSIGNED:
            for item in self._items:
                value = next((group.get(keyword) for group in item.get(name) or ()), None)
                if value is not None and value != "":
                    return value if isinstance(value, MultiValue | list) else (value,)
        return ()
