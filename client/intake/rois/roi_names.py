"""What the names of ROIs and of label maps say: which of the study's ROIs it is, and whose reading."""

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fedescc.common.imaging import Roi

Role = Literal["pre", "post", "nodes"]
_SEPARATOR = re.compile(r"[ ._-]")


class Reading(NamedTuple):
    """Which of the study's ROIs a name may mean, none where it means none, and whether the second reader's."""

    roles: frozenset[Role]
    second: bool


@dataclass(frozen=True)
class RoiNames:
    """The study's patterns (regular expressions, in full, letter case ignored); see `fedescc.common.imaging.Roi`."""

    pre: str
    post: str
    second: str
    nodes: str | None

    @classmethod
    def of(cls, roi: Roi) -> "RoiNames":
        """The patterns of a study."""
        return cls(roi.name_pattern, roi.post_name_pattern, roi.second_reader_pattern, roi.nodal_name_pattern)

    def of_region(self, name: str) -> Reading:
        """What the name of an ROI or a segment says."""
        return self._reading(name, plain=False)

    def of_file(self, stem: str) -> Reading:
        """What a label map's name without endings says; here ``pre`` and ``post`` mean the ROI of that CT."""
        return self._reading(stem, plain=True)

    def _reading(self, name: str, *, plain: bool) -> Reading:
        name = name.strip()
        second = _matches(self.second, name)
        # The reader may be named behind a name that the study's pattern knows only without: ``pre.reader2``.
        ends = [match.start() for match in _SEPARATOR.finditer(name)] if second else []
        for one in (name, *(name[:end] for end in reversed(ends))):
            if roles := self._roles(one, plain=plain):
                return Reading(roles, second)
        return Reading(frozenset(), second)

    def _roles(self, name: str, *, plain: bool) -> frozenset[Role]:
        # A pattern of the tumour may be wide enough to take in the nodes (GTVp, GTVn).
        if self.nodes is not None and _matches(self.nodes, name):
            return frozenset({"nodes"})
        patterns: dict[Role, str] = {"pre": self.pre, "post": self.post}
        return frozenset(
            role for role, pattern in patterns.items() if _matches(pattern, name) or (plain and name.lower() == role)
        )


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(pattern, name, re.IGNORECASE) is not None
