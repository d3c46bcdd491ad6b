"""Contrast medium by tags, and what is believed where tag and image differ."""

import pytest
from phantom_scans import row

from fedescc.client.imaging.quality.contrast import by_tags, judge_contrast
from fedescc.client.imaging.quality.enhancement import Enhancement


@pytest.mark.parametrize(
    "description",
    ["Thorax CE 5.0", "CHEST C+", "Chest with contrast", "ARTERIAL PHASE", "art. phase", "Thorax venous 3.0 B30f",
     "Chest post contrast", "PVP 1.25mm", "胸部增强", "动脉期", "Thorax KM", "CTA Aorta", "portal"],
)  # fmt: skip
def test_descriptions_of_enhanced_phases(description: str) -> None:
    assert by_tags([row(series_description=description)]) == "enhanced"


@pytest.mark.parametrize(
    "description",
    ["5/5mm Plain", "Chest w/o contrast", "CHEST WITHOUT CONTRAST", "non-contrast", "Thorax nativ 5.0", "unenhanced",
     "Thorax ohne KM", "sans injection", "NCCT chest", "pre-contrast", "Chest C-", "胸部平扫", "NON CE", "no iv"],
)  # fmt: skip
def test_descriptions_of_plain_phases(description: str) -> None:
    assert by_tags([row(series_description=description, contrast_agent="ISOVUE 300")]) == "plain"


@pytest.mark.parametrize(
    "description",
    ["", "CT Body 3.0", "Thorax 1.0 B70f", "Pelvic cortex", "Pectus", "surveillance", "alternative", "Routine Brain"],
)
def test_descriptions_that_say_nothing(description: str) -> None:
    assert by_tags([row(series_description=description)]) == "unknown"


@pytest.mark.parametrize(
    ("agent", "verdict"),
    [
        ("ISOVUE300/100", "enhanced"),
        ("APPLIED", "enhanced"),
        ("IV", "enhanced"),
        ("Oral & IV", "enhanced"),
        ("碘海醇", "enhanced"),
        ("", "unknown"),
        ("Oral", "unknown"),
        ("oral contrast", "unknown"),
        ("water p.o.", "unknown"),
        ("NONE", "plain"),
        ("No", "plain"),
        ("without", "plain"),
        ("无", "plain"),
    ],
)
def test_agents(agent: str, verdict: str) -> None:
    assert by_tags([row(contrast_agent=agent)]) == verdict


def test_contradictory_tags_say_nothing() -> None:
    assert by_tags([row(series_description="plain and venous")]) == "unknown"
    assert by_tags([row(contrast_agent="ISOVUE"), row(contrast_agent="")]) == "unknown"
    assert by_tags([]) == "unknown"


def test_the_image_is_believed_and_the_tag_reported() -> None:
    lying = [row(contrast_agent="ULTRAVIST 370")]
    found = judge_contrast(Enhancement("plain", 42.0), lying)
    assert found == ("plain", 42.0, ("contrast_tag_disagrees",))
    found = judge_contrast(Enhancement("enhanced", 180.0), [row(series_description="plain")])
    assert found == ("enhanced", 180.0, ("contrast_tag_disagrees",))


def test_agreement_and_silence_are_no_warning() -> None:
    assert judge_contrast(Enhancement("enhanced", 180.0), [row(contrast_agent="X")]).warnings == ()
    assert judge_contrast(Enhancement("plain", 40.0), [row()]).warnings == ()


def test_tags_stand_in_where_the_image_tells_nothing() -> None:
    assert judge_contrast(Enhancement("unknown", None), [row(contrast_agent="X")]) == ("enhanced", None, ())
    assert judge_contrast(Enhancement("unknown", None), [row()]) == ("unknown", None, ())
