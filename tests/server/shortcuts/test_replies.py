"""Replies about scans and embeddings: what no patients can have is refused, and hidden counts become bounds."""

import dataclasses

import numpy as np
import pytest

from fedescc.common.errors import Refusal
from fedescc.common.schema import ALLOWED
from fedescc.common.shortcut import upper_triangle
from fedescc.common.wire import ACQUISITION, SHORTCUT, Reply
from fedescc.server.shortcuts.replies import acquisition_share, assigned_share, moments_share, products_share

POINTS = ("pre", "post")
SCANS = {
    "n": 20,
    "vendor_counts": [20, 0, 0, 0, 0, 0, 0, 0] * 2,
    "kernel_counts": [10, 0, 0, 0, 10] * 2,
    "phase_counts": [0, 20, 0, 0] * 2,
    "number_counts": [20] * 6,
    "number_totals": [2000] * 6,
    "number_squares": [400_000] * 6,
}
ROWS = np.random.default_rng(0).normal(size=(20, 3))
SUMS = {
    "n": 20,
    "totals": ROWS.sum(axis=0).tolist(),
    "squares": (ROWS**2).sum(axis=0).tolist(),
    "vendor_counts": [12, 8, 0, 0, 0, 0, 0, 0],
    "vendor_totals": [*ROWS[:12].sum(axis=0), *ROWS[12:].sum(axis=0)],
}
PRODUCTS = {
    "n": 20,
    "products": upper_triangle(ROWS.T @ ROWS).tolist(),
    "vendor_products": [*upper_triangle(ROWS[:12].T @ ROWS[:12]), *upper_triangle(ROWS[12:].T @ ROWS[12:])],
}
COUNTS = {
    "n": 20,
    "minimum": 5,
    "right": 15,
    "right_hidden": 0,
    "vendor_counts": [12, 8, 0, 0, 0, 0, 0, 0],
    "vendor_right": [12, 0],
    "vendor_hidden": [0, 2],
}


def reply(sums, **change):
    return Reply("a", "study", {key: value for key, value in (sums | change).items() if value is not None})


def test_sums_are_taken_as_they_are():
    scans = acquisition_share(reply(SCANS), POINTS)
    assert scans.n == 20
    assert scans.cells["kernel"].tolist() == [[10, 0, 0, 0, 10]] * 2
    moments = moments_share(reply(SUMS))
    assert list(moments.vendors) == ["siemens", "ge"]
    assert np.allclose(moments.vendors["ge"].total, ROWS[12:].sum(axis=0))
    products = products_share(reply(PRODUCTS), moments, 3)
    assert np.allclose(products.whole, ROWS.T @ ROWS)
    assert np.allclose(products.vendors["siemens"], ROWS[:12].T @ ROWS[:12])
    assert products_share(reply(PRODUCTS, vendor_products=None), moments, 3).vendors == {}


@pytest.mark.parametrize(
    "change",
    [
        {"n": 19},
        {"n": 0},
        {"n": None},
        {"vendor_counts": [20] * 8},
        {"vendor_counts": [19, 0, 0, 0, 0, 0, 0, 0] * 2},
        {"kernel_counts": None},
        {"number_counts": [21] * 6},
        {"number_counts": [20] * 5},
        {"number_squares": [100] * 6},
        {"number_totals": [2**21 * 20] * 6},
        {"number_totals": [0.5] * 6},
    ],
)
def test_scans_that_no_patients_can_have_are_refused(change):
    with pytest.raises(Refusal, match="malformed-message"):
        acquisition_share(reply(SCANS, **change), POINTS)


@pytest.mark.parametrize(
    "change",
    [
        {"totals": []},
        {"totals": None},
        {"totals": 3.0},
        {"squares": [1.0] * 2},
        {"squares": [0.0] * 3},
        {"vendor_counts": [12, 9, 0, 0, 0, 0, 0, 0]},
        {"vendor_counts": [20, 0, 0, 0, 0, 0, 0, 0]},
        {"vendor_totals": [0.0] * 3},
    ],
)
def test_sums_of_embeddings_that_do_not_fit_are_refused(change):
    with pytest.raises(Refusal, match="malformed-message"):
        moments_share(reply(SUMS, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"n": 21},
        {"products": [1.0] * 5},
        {"products": [1.0, 5.0, 0.0, 1.0, 0.0, 1.0]},
        {"products": [-1.0, 0.0, 0.0, 1.0, 0.0, 1.0]},
        {"vendor_products": [1.0] * 6},
    ],
)
def test_products_that_no_patients_can_have_are_refused(change):
    with pytest.raises(Refusal, match="malformed-message"):
        products_share(reply(PRODUCTS, **change), moments_share(reply(SUMS)), 3)


def test_hidden_counts_become_what_they_leave_open():
    share = assigned_share(reply(COUNTS))
    assert (share.own.low, share.own.high, share.own.told) == (15, 15, True)
    assert (share.vendors["siemens"].low, share.vendors["siemens"].high) == (12, 12)
    few_wrong = share.vendors["ge"]
    assert (few_wrong.n, few_wrong.low, few_wrong.high, few_wrong.told) == (8, 4, 7, False)
    for code, bounds in {1: (1, 4), 2: (16, 19), 3: (1, 19)}.items():
        own = assigned_share(reply(COUNTS, right=0, right_hidden=code)).own
        assert (own.low, own.high) == bounds
    nobody = assigned_share(reply(COUNTS, right=None, right_hidden=None, vendor_counts=None))
    assert nobody.own is None
    assert nobody.vendors == {}


@pytest.mark.parametrize(
    "change",
    [
        {"right": 21},
        {"right_hidden": 4},
        {"right_hidden": None},
        {"right_hidden": 1},  # hidden and told at once
        {"minimum": 0},
        {"minimum": None},
        {"minimum": 1, "right": 0, "right_hidden": 1},  # with a minimum of 1 nothing is few
        {"vendor_right": [13, 0]},
        {"vendor_right": [12]},
        {"vendor_counts": [12, 7, 0, 0, 0, 0, 0, 0]},
    ],
)
def test_counts_that_do_not_fit_are_refused(change):
    with pytest.raises(Refusal, match="malformed-message"):
        assigned_share(reply(COUNTS, **change))


def test_every_count_of_patients_is_marked_for_egress():
    """The least that egress must hold a site's minimum to."""
    scans = {key for key, allowed in ALLOWED[ACQUISITION].items() if allowed.patients}
    assert scans == {"n", "vendor_counts", "kernel_counts", "phase_counts", "number_counts"}
    assert {key for key, allowed in ALLOWED[SHORTCUT].items() if allowed.patients} == {
        "n", "right", "vendor_counts", "vendor_right",
    }  # fmt: skip


def test_shares_are_values():
    share = assigned_share(reply(COUNTS))
    with pytest.raises(dataclasses.FrozenInstanceError):
        share.own = None
