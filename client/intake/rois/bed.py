"""The ROI of the second CT: the tumour bed, by one rule for every patient of a study.

After a complete response there is nothing left to draw: were the bed a drawn residual, its size and presence would
tell the outcome. The rule ``propagate`` therefore carries the baseline ROI over by registration, without scaling it.
A bed that a reader drew is a correction of that and wins.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from fedescc.client.imaging.masks.contours import Mask
from fedescc.client.imaging.registration.propagation import carry
from fedescc.client.imaging.registration.register import register
from fedescc.client.imaging.volumes.volume import CtVolume
from fedescc.common.errors import Refusal


class Bed(NamedTuple):
    """Masks (z, y, x) on the second CT's grid.

    Attributes:
        roi: the bed.
        nodes: the baseline's nodes, carried over.
        propagated: whether the bed was carried over rather than drawn.
        similarity: of the two CTs after registration; None where nothing was carried over.

    """

    roi: Mask
    nodes: Mask | None
    propagated: bool
    similarity: float | None


class Baseline(NamedTuple):
    """The first CT, its tumour and, where the study asks for them, its nodes."""

    volume: CtVolume
    roi: Mask
    nodes: Mask | None


def find_bed(
    drawn: Callable[[], Mask], baseline: Baseline | None, post: CtVolume, rule: Literal["propagate", "drawn"]
) -> Bed:
    """The tumour bed and, where the baseline has nodes, those carried over.

    Args:
        drawn: reads the bed that a reader drew; raises no_mask where there is none.
        baseline: the first CT; None where it, or its ROI, cannot be used.
        post: the second CT.
        rule: the study's ``imaging.roi.post_rule``.

    Raises:
        Refusal: no_mask, needs_baseline_roi, or what reading a mask or registering is refused for. A drawn bed that
            cannot be read is refused too: somebody wanted it used.

    """
    try:
        by_hand = drawn()
    except Refusal as refusal:
        if refusal.code != "no_mask" or rule == "drawn":
            raise
        by_hand = None
    if by_hand is not None and (baseline is None or baseline.nodes is None):
        return Bed(by_hand, None, propagated=False, similarity=None)
    if baseline is None:
        raise Refusal("needs_baseline_roi", "there is no ROI to carry over", "draw the ROI on the first CT")
    alignment = register(baseline.volume, baseline.roi, post)
    nodes = None if baseline.nodes is None else carry(alignment, baseline.nodes, post.geometry)
    if by_hand is not None:
        return Bed(by_hand, nodes, propagated=False, similarity=alignment.similarity)
    bed = carry(alignment, baseline.roi, post.geometry)
    return Bed(bed, nodes, propagated=True, similarity=alignment.similarity)
