"""Every code that a results document can hold has words: whatever answers, sums, evaluates or audits is searched."""

import ast
import re

import pytest

from fedescc.server.report.reasons import PHASES, REASONS, phase, reason
from fedescc.server.report.selection import _KEPT

ANSWERING = (
    "common",
    "client/acquisition",
    "client/answers",
    "client/explanation",
    "client/features",
    "client/learning",
    "server",
    "simulations/audit",
)
SITE = ("app", "egress", "folds", "local_site", "queries", "state")
CODE = re.compile(r"[a-z]+(?:-[a-z0-9]+)+")
# Modules that read a command's own files before there are results, and those that name parts of a page.
BEFORE_RESULTS = {"common/yamlfile.py", "common/counts.py", "server/modes.py", "server/results.py"}
BEFORE_RESULTS |= {"server/run_folder.py", "server/training/checkpoint.py", "server/planning/page.py"}
PAGES = ("server/report", "client/explanation/page.py", "server/planning/widths.py")
WORDS = {
    "all-dimensions": "a basis of the shortcut probe",
    "directions-of-class-means": "a basis of the shortcut probe",
    "federated-means": "a reference of the explanation",
    "fedescc-server": "a program",
    "fedescc-model-1": "a file's format",
    "fedescc-plan-1": "a file's format",
    "invalid-override": "of the command line, before a run starts",
    "message-type": "a part of a message",
    "newton-cholesky": "a solver",
    "utf-8": "an encoding of files",
    "site-file": "what a message is about",
}


def strings(source):
    """Constants that look like a code, wherever they stand but in documentation."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return {node.value for node in nodes if isinstance(node.value, str) and CODE.fullmatch(node.value)}


def searched(repository):
    """Modules whose codes can end in a results document, by path."""
    paths = [path for folder in ANSWERING for path in sorted((repository / folder).rglob("*.py"))]
    paths += [repository / "client" / f"{name}.py" for name in SITE]
    named = {str(path.relative_to(repository)): path for path in paths}
    return {n: path for n, path in named.items() if n not in BEFORE_RESULTS and not n.startswith(PAGES)}


def codes(repository):
    """Code -> the modules that have it."""
    found = {}
    for name, path in searched(repository).items():
        for code in strings(path.read_text(encoding="utf-8")):
            found.setdefault(code, []).append(name)
    return found


def test_every_code_that_results_can_hold_has_words(repository):
    without = {code: names for code, names in codes(repository).items() if not REASONS.keys() & {code}}
    assert {code: names for code, names in without.items() if code not in {*WORDS, *_KEPT}} == {}


def test_no_exception_is_left_over(repository):
    assert codes(repository).keys() >= WORDS.keys()
    assert not WORDS.keys() & REASONS.keys()
    assert all((repository / name).is_file() for name in BEFORE_RESULTS)


def test_every_part_of_the_search_finds_something(repository):
    names = searched(repository)
    assert all(any(name.startswith(f"{folder}/") for name in names) for folder in ANSWERING)
    found = codes(repository)
    assert {"training-is-not-repeated", "contributors-changed", "query-budget-spent", "training-diverged"} <= {*found}


def test_the_search_sees_codes_in_every_place():
    source = '"""not-a-code here"""\nA = {"k": "in-a-dict"}\ndef f(x="as-default"):\n    return g("in-a-call")\n'
    assert strings(source) == {"in-a-dict", "as-default", "in-a-call"}


@pytest.mark.parametrize("code", sorted(REASONS))
def test_words_are_words_and_no_sentence(code):
    words = REASONS[code]
    assert re.fullmatch(r"[A-Za-z0-9].*[a-zA-Z0-9%]", words)
    assert code not in words
    assert reason(code) == f"{words} ({code})"


def test_a_message_has_a_name_even_where_none_was_given():
    assert phase("train") == PHASES["train"] == "rounds of training"
    assert phase("evaluate.new_question") == "new question"
