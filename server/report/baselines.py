"""What is put in place of a removed image region, and whether it matters: a fixed value, or the tissue around."""

from collections.abc import Mapping, Sequence

from fedescc.server.report import svg
from fedescc.server.report.dots import Dot, DotRow, dot_chart
from fedescc.server.report.formats import decimal, whole
from fedescc.server.report.markup import Html, el
from fedescc.server.report.parts import Baselines
from fedescc.server.report.tables import table

_FIXED, _LOCAL = svg.look(0), svg.look(1)


def baselines_part(found: Mapping[str, Baselines] | None, order: Sequence[tuple[str, str]], unit: str) -> Html | None:
    """Both baselines side by side as plot and table, in the order of the inputs; None without images."""
    known = [(label, found[name]) for name, label in order if name in found] if found else []
    if not known:
        return None
    rows = [[label, whole(one.n), decimal(one.fixed), decimal(one.local)] for label, one in known]
    caption = (
        f"Mean |SHAP| ({unit}) over the gates' patients. A removed region shows a fixed value, or the tissue around "
        "it; clinical inputs have the same baseline in both."
    )
    numbers = table(caption, ["Input", "Patients", "Fixed", "Local tissue"], rows)
    figure = _figure([(label, one) for label, one in known if one.fixed is not None and one.local is not None], unit)
    return el("div", el("h3", "Fixed against local-tissue baseline"), el("div", figure, numbers, class_="columns"))


def _figure(known: Sequence[tuple[str, Baselines]], unit: str) -> Html | None:
    if not known:
        return None
    rows = [DotRow(label, (Dot(_FIXED, one.fixed), Dot(_LOCAL, one.local))) for label, one in known]
    spoken = ". ".join(f"{label}: fixed {decimal(one.fixed)}, local {decimal(one.local)}" for label, one in known)
    title = "Mean absolute SHAP value under two baselines"
    drawing = dot_chart("baselines", title, spoken, rows, f"mean |SHAP| ({unit})", zero=True)
    legend = svg.legend([(_FIXED, "fixed value"), (_LOCAL, "local tissue")], lines=False)
    return svg.figure(drawing, "Two baselines", "The closer both markers, the less the baseline matters.", legend)
