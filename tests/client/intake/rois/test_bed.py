"""Which bed the second CT gets: drawn, carried over, or a reason."""

from collections.abc import Callable

import numpy as np
import pytest

from fedescc.client.imaging.masks.contours import Mask
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.volume import MemoryVolume
from fedescc.client.intake.rois import bed
from fedescc.client.intake.rois.bed import Baseline, find_bed
from fedescc.common.errors import Refusal

GRID = Geometry((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
CT = MemoryVolume(np.zeros((4, 4, 4), np.int16), GRID)
DRAWN, TUMOUR, NODES = (np.arange(64).reshape(4, 4, 4) == k for k in (1, 2, 3))


class Alignment:
    similarity = 0.8


@pytest.fixture(autouse=True)
def registration(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Registration that moves nothing, and a list of its calls."""
    calls: list[str] = []

    def register(*_: object) -> Alignment:
        calls.append("register")
        return Alignment()

    monkeypatch.setattr(bed, "register", register)
    monkeypatch.setattr(bed, "carry", lambda _alignment, mask, _grid: mask)
    return calls


def by_hand() -> Mask:
    return DRAWN


def refused(code: str) -> Callable[[], Mask]:
    def read() -> Mask:
        raise Refusal(code, "", "")

    return read


def test_a_drawn_bed_wins_and_nothing_is_registered(registration: list[str]) -> None:
    for rule in ("propagate", "drawn"):
        found = find_bed(by_hand, Baseline(CT, TUMOUR, None), CT, rule)  # type: ignore[arg-type] # a literal
        assert (found.roi is DRAWN, found.nodes, found.propagated, found.similarity) == (True, None, False, None)
    assert find_bed(by_hand, None, CT, "propagate").roi is DRAWN
    assert registration == []


def test_without_one_the_baseline_roi_is_carried_over(registration: list[str]) -> None:
    found = find_bed(refused("no_mask"), Baseline(CT, TUMOUR, None), CT, "propagate")
    assert (found.roi is TUMOUR, found.nodes, found.propagated, found.similarity) == (True, None, True, 0.8)
    assert registration == ["register"]


def test_nodes_are_carried_over_beside_either_and_their_similarity_counts() -> None:
    for read, roi, propagated in ((by_hand, DRAWN, False), (refused("no_mask"), TUMOUR, True)):
        found = find_bed(read, Baseline(CT, TUMOUR, NODES), CT, "propagate")
        assert (found.roi is roi, found.nodes is NODES) == (True, True)
        assert (found.propagated, found.similarity) == (propagated, 0.8)


@pytest.mark.parametrize(
    ("read", "baseline", "rule", "code"),
    [
        (refused("no_mask"), Baseline(CT, TUMOUR, None), "drawn", "no_mask"),
        (refused("no_mask"), None, "propagate", "needs_baseline_roi"),
        (refused("mask_truncated"), Baseline(CT, TUMOUR, None), "propagate", "mask_truncated"),
        (refused("roi_ambiguous"), Baseline(CT, TUMOUR, None), "propagate", "roi_ambiguous"),
    ],
)
def test_refusals(read: Callable[[], Mask], baseline: Baseline | None, rule: str, code: str) -> None:
    with pytest.raises(Refusal) as caught:
        find_bed(read, baseline, CT, rule)  # type: ignore[arg-type] # a literal
    assert caught.value.code == code
