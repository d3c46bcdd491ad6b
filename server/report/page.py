"""``report.html``: one file that needs no network, no script and no font, from the results alone."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from fedescc.common.errors import Refusal
from fedescc.common.files import write_atomically
from fedescc.server.report.audit import audit_section
from fedescc.server.report.cohort import cohort_section
from fedescc.server.report.comparison import comparison_section
from fedescc.server.report.contribution import contribution_section
from fedescc.server.report.curves import curves_section
from fedescc.server.report.document import Results, parse_results
from fedescc.server.report.explanation import explanation_section
from fedescc.server.report.folds import folds_section
from fedescc.server.report.governance import privacy_section, provenance_section
from fedescc.server.report.markup import Html, el
from fedescc.server.report.overview import headline, masthead
from fedescc.server.report.performance import performance_section
from fedescc.server.report.plan import plan_section
from fedescc.server.report.planning import planning_section
from fedescc.server.report.shortcuts import shortcuts_section
from fedescc.server.report.sites import sites_section
from fedescc.server.report.style import style_sheet
from fedescc.server.report.subgroups import subgroups_section
from fedescc.server.report.svg import look
from fedescc.server.report.training import training_section


def write_report(results: dict[str, Any], path: Path) -> None:
    """Write the report; the same results always give the same bytes, and an old report stays until the new is whole.

    Raises:
        Refusal: not a results document, or the file cannot be written.

    """
    page = render(results)
    try:
        write_atomically(path, page.encode())
    except OSError as error:
        reason = type(error).__name__
        raise Refusal("unwritable-report", f"cannot write {path}: {reason}", "check the folder") from error


def render(results: dict[str, Any]) -> str:
    """The report as HTML; `Refusal` as in `write_report`."""
    document = parse_results(results)
    return document_page(f"{document.title or document.study}: federated study report", _body(document))


def document_page(title: str, body: Html) -> str:
    """A whole page around a body: the style sheet within, and a policy that loads nothing from anywhere."""
    return f"<!doctype html>\n{el('html', _head(title), body, lang='en')}\n"


def _head(title: str) -> Html:
    style = style_sheet()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="referrer", content="no-referrer"),
        el("meta", name="robots", content="noindex"),
        el("title", title),
        el("style", Html(style)),
    )


def _body(results: Results) -> Html:
    looks = {name: look(place) for place, name in enumerate(results.site_names)}
    sections = {
        "Result": headline(results),
        "Sites": sites_section(results, looks),
        "Plan": plan_section(results),
        "Performance": performance_section(results),
        "Curves": curves_section(results, looks),
        "Folds": folds_section(results),
        "Comparison": comparison_section(results, looks),
        "Subgroups": subgroups_section(results),
        "Training": training_section(results),
        "Cohort": cohort_section(results),
        "Explanation": explanation_section(results, looks),
        "Shortcuts": shortcuts_section(results, looks),
        "Contribution": contribution_section(results, looks),
        "Planning": planning_section(results, looks),
        "Audit": audit_section(results),
        "Privacy": privacy_section(results),
        "Provenance": provenance_section(results),
    }
    contents = [(words.lower(), words) for words, part in sections.items() if part is not None]
    version = f"fedescc {results.version}" if results.version else "fedescc"
    footer = el("footer", f"{version}. Research use only. All numbers are also in results.json.")
    return el("body", masthead(results, contents), el("main", *sections.values()), footer)
