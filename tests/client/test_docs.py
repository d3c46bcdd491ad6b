"""docs/intake.md explains every code that a site can meet."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from fedescc.client.imaging.volumes import reasons
from fedescc.common.imaging import QualityCode

# A caller's mistake, a code that only other code sees, or a PACS user's status instead of a reader's reason.
INTERNAL = {"not_int16", "conflict", "disk_full", "invalid_uid", "missing_uid", "sop_class_mismatch", "too_large"}
INTERNAL |= {"uid_mismatch"}


@pytest.fixture(scope="module")
def explained(repository: Path) -> set[str]:
    text = (repository / "docs" / "intake.md").read_text(encoding="utf-8")
    return set(re.findall(r"`([a-z][a-z0-9_]+)", text))


def raised(folder: Path) -> set[str]:
    """Codes of every ``Refusal(...)`` and ``RejectedFile(...)`` below a folder that are written out in snake_case."""
    place = {"Refusal": 0, "Damaged": 0, "RejectedFile": 1}
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            at = place.get(getattr(node.func, "id", "")) if isinstance(node, ast.Call) else None
            if isinstance(node, ast.Call) and at is not None and len(node.args) > at:
                strings = [one.value for one in ast.walk(node.args[at]) if isinstance(one, ast.Constant)]
                found |= {text for text in strings if isinstance(text, str) and re.fullmatch("[a-z0-9_]+", text)}
    return found


def test_every_code_of_an_image_or_mask_is_explained(repository: Path, explained: set[str]) -> None:
    codes = raised(repository / "client") - INTERNAL
    assert len(codes) > 55, "the search finds them"
    assert codes - explained == set()


def test_every_reason_warning_and_finding_is_explained(explained: set[str]) -> None:
    documented = set(re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", reasons.__doc__ or "")) - {"stack_geometry"}
    assert len(documented) > 40
    assert documented - explained == set()
    assert set(get_args(QualityCode)) - explained == set()


def test_no_code_is_explained_that_does_not_exist(repository: Path, explained: set[str]) -> None:
    """Codes in the first column of a table stand somewhere in the source."""
    text = (repository / "docs" / "intake.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+) \|", text, flags=re.MULTILINE)
    codes = {code for row in rows for code in re.findall(r"`([a-z][a-z0-9]*_[a-z0-9_]+)`", row)}
    sources = [*(repository / "client").rglob("*.py"), repository / "common" / "imaging.py"]
    source = "".join(path.read_text(encoding="utf-8") for path in sources)
    assert {code for code in codes if f'"{code}"' not in source} == set()
