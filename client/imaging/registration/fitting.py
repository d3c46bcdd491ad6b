"""One rigid fit of two images by SimpleITK, always with the same result."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, Literal, NamedTuple

from fedescc.client.imaging.itk import simple_itk

_SEED = 7
_HISTOGRAM_BINS = 32
_RELAXATION = 0.5
_LEAST_GRADIENT = 1e-6
_FITTING = Lock()


class Schedule(NamedTuple):
    """How one fit goes.

    Attributes:
        metric: correlation, or Mattes mutual information (IEEE Trans Med Imaging 2003, doi:10.1109/TMI.2003.809072).
        window_hu: HU are cut to these.
        samples: about as many voxels of the fixed image or its mask are looked at, evenly spread.
        step_mm: first and last step.
        iterations: at most.

    """

    metric: Literal["correlation", "mutual_information"]
    window_hu: tuple[float, float]
    samples: int
    step_mm: tuple[float, float]
    iterations: int


def fit(fixed: Any, moving: Any, start: Any, schedule: Schedule, mask: Any = None) -> Any:
    """The rigid transform from points of ``fixed`` to points of ``moving`` that fits best, near ``start``.

    One thread and a fixed seed of the samples: the same images give the same bits.

    Args:
        fixed: SimpleITK image, float32 HU.
        moving: SimpleITK image, float32 HU.
        start: Euler3DTransform; it is not changed.
        schedule: metric and steps.
        mask: SimpleITK image, uint8, 1 where ``fixed`` is to be looked at; None looks everywhere.

    Raises:
        RuntimeError: ITK's, where too few samples meet the moving image or an image is too small.

    """
    itk = simple_itk()
    transform = itk.Euler3DTransform(start)
    with _one_thread():
        method = _method(schedule, fixed, mask)
        method.SetInitialTransform(transform, True)
        method.Execute(*(itk.Clamp(image, itk.sitkFloat32, *schedule.window_hu) for image in (fixed, moving)))
    return transform


def _method(schedule: Schedule, fixed: Any, mask: Any) -> Any:
    itk = simple_itk()
    method = itk.ImageRegistrationMethod()
    if schedule.metric == "correlation":
        method.SetMetricAsCorrelation()
    else:
        method.SetMetricAsMattesMutualInformation(_HISTOGRAM_BINS)
    voxels = fixed.GetNumberOfPixels() if mask is None else int(itk.GetArrayViewFromImage(mask).sum())
    if schedule.samples < voxels:
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(schedule.samples / voxels, _SEED)
    if mask is not None:
        method.SetMetricFixedMask(mask)
    method.SetInterpolator(itk.sitkLinear)
    first, last = schedule.step_mm
    method.SetOptimizerAsRegularStepGradientDescent(first, last, schedule.iterations, _RELAXATION, _LEAST_GRADIENT)
    method.SetOptimizerScalesFromPhysicalShift()
    return method


@contextmanager
def _one_thread() -> Iterator[None]:
    """Hold ITK to one thread, one fit at a time.

    The metrics add their threads' sums in the order in which these finish, and take the process' default number of
    threads whatever the registration method is told (measured with SimpleITK 2.5): no two runs would be the same.
    """
    process = simple_itk().ProcessObject
    with _FITTING:
        before = process.GetGlobalDefaultNumberOfThreads()
        process.SetGlobalDefaultNumberOfThreads(1)
        try:
            yield
        finally:
            process.SetGlobalDefaultNumberOfThreads(before)
