"""Who came before whom: a rank a patient, so that no date enters the prepared cohort."""

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

from fedescc.client.intake.eligibility import Scans
from fedescc.client.intake.table.cells import Value
from fedescc.common.study import Study


def last_date(study: Study, values: Mapping[str, Value], scans: Scans | None) -> date | None:
    """The last date up to surgery that is known of a patient: of a CT, of treatment or of surgery itself.

    What comes after surgery (``available_at: pathology``) may be recorded years later and does not count.
    """
    dates = [value for name, value in values.items() if _up_to_surgery(study, name) and isinstance(value, date)]
    dates += scans.dates.values() if scans else ()
    return max(dates, default=None)


def temporal_order(dates: Sequence[date | None]) -> NDArray[np.int32] | None:
    """Of each patient how many have an earlier date, (n,) int32; -1 without a date, None if nobody has one."""
    known = sorted(one for one in dates if one is not None)
    if not known:
        return None
    days = np.array([one.toordinal() for one in known])
    ranks = [-1 if one is None else int(np.searchsorted(days, one.toordinal())) for one in dates]
    return np.array(ranks, dtype=np.int32)


def _up_to_surgery(study: Study, name: str) -> bool:
    return name in study.variables and study.variables[name].available_at != "pathology"
