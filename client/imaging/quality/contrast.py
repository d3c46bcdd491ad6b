"""What tags say of contrast medium, and what to believe where the image says something else."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.quality.enhancement import Enhancement, Verdict

CONTRAST_TAG_DISAGREES = "contrast_tag_disagrees"
# Contrast/Bolus Agent (0018,0010) is free text: these say that there was none, or that it was swallowed.
_NO_AGENT = re.compile(r"no|non|none|n|nil|without|w/?o|not applied|unapplied|false|0|无|平扫", re.IGNORECASE)
_ORAL_AGENT = re.compile(r"\b(oral|rectal|enteric|p\.?o\.?|water)\b|口服", re.IGNORECASE)
_IV_AGENT = re.compile(r"\b(iv|i\.v\.?|intravenous|bolus)\b|静脉", re.IGNORECASE)
# Series Description (0008,103E) in English, German, French and Chinese; "plain" words first, because "non-contrast"
# and "w/o contrast" contain the others. A letter on either side makes another word.
_PLAIN_WORDS = re.compile(
    r"(?<![a-z])(plain|native?|nativ|unenhanced|non[ _-]?(enhanced|contrast|ce)|nc(ct)?|pre[ _-]?contrast|"
    r"(w/?o|without|no|sans|ohne)[ _-]?(iv)?[ _-]?(c|contrast\w*|injection|km|iv)|c-)(?![a-z+])|平扫",
    re.IGNORECASE,
)
_ENHANCED_WORDS = re.compile(
    r"(?<![a-z])(ce(ct)?|enhanced|(post[ _-]?)?contrast|with[ _-]?(iv|contrast)|arterial|venous|"
    r"art(?=[ _.-]{0,2}ph)|portal|pvp?|late[ _-]?phase|delayed?|equilibrium|inject(ed|ion)?|iv|km|cta|"
    r"angio\w*)(?![a-z])|(?<![a-z])c\+|增强|动脉期|静脉期|门脉期|门静脉|延迟期|实质期",
    re.IGNORECASE,
)


class Contrast(NamedTuple):
    """The verdict on a series, the blood's HU where measured, and warning codes."""

    verdict: Verdict
    blood_hu: float | None
    warnings: tuple[str, ...]


def by_tags(rows: Sequence[DicomRow]) -> Verdict:
    """What Series Description, then Contrast/Bolus Agent, say of intravenous contrast medium: weak evidence.

    Agents are left in the tag of a plain phase of the same examination, and are missing where the injector is not
    connected; a description names its own phase. Both are free text, so what is not recognised is ``unknown``.
    """
    words = " ".join(dict.fromkeys(row.series_description for row in rows))
    if _PLAIN_WORDS.search(words):
        return "unknown" if _ENHANCED_WORDS.search(_PLAIN_WORDS.sub(" ", words)) else "plain"
    if _ENHANCED_WORDS.search(words):
        return "enhanced"
    agents = {row.contrast_agent.strip() for row in rows}
    verdicts = {_agent(agent) for agent in agents}
    return verdicts.pop() if len(verdicts) == 1 else "unknown"


def judge_contrast(measured: Enhancement, rows: Sequence[DicomRow]) -> Contrast:
    """The image's verdict, or the tags' where the image has none.

    Warning: contrast_tag_disagrees where both have one and they differ.
    """
    stated = by_tags(rows)
    if measured.verdict == "unknown":
        return Contrast(stated, None, ())
    differs = stated not in {"unknown", measured.verdict}
    return Contrast(measured.verdict, measured.blood_hu, (CONTRAST_TAG_DISAGREES,) if differs else ())


def _agent(text: str) -> Verdict:
    if not text or (_ORAL_AGENT.search(text) and not _IV_AGENT.search(text)):
        return "unknown"  # an empty tag says nothing: many scanners never fill it
    return "plain" if _NO_AGENT.fullmatch(text) else "enhanced"
