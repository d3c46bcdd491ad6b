"""Sums of the columns over the training patients: their federated means are what a removed clinical input shows."""

from fedescc.client.answers.logistic import governed_columns
from fedescc.client.local_site import LocalSite
from fedescc.client.site import BELOW_MINIMUM
from fedescc.common.disclosure.cells import too_few
from fedescc.common.tabular.received import received_encoding
from fedescc.common.wire import Reply, Request

_DECIMALS = 6


def reference(site: LocalSite, request: Request) -> Reply:
    """Patients and the sum of each column, rare categories merged as for regressions."""
    encoding = received_encoding(request.task, site.study)
    rows = site.view(request).rows("train")
    if too_few(len(rows), site.policy.min_class_count):
        return site.reply({}, {"n": BELOW_MINIMUM})
    totals = governed_columns(site, request, encoding, rows).sum(axis=0)
    return site.reply({"n": len(rows), "totals": [round(float(total), _DECIMALS) for total in totals]})
