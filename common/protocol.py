"""What a study asks of patients: variables, conditions, eligibility rules and the endpoint."""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from fedescc.common.yamlfile import Strict

Moment = Literal["baseline", "treatment", "second_ct", "surgery", "pathology"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")]


class NumericVariable(Strict):
    """A measured value; outside ``range`` (in ``unit``) it is refused, most often a wrong unit.

    ``transform``: how a covariate becomes a model input: ``quantile`` takes the normal score of its rank among all
    sites' training patients, for skewed laboratory values; ``none`` its distance from the mean in SDs.
    """

    type: Literal["numeric"]
    unit: str
    range: tuple[float, float]
    transform: Literal["none", "quantile"] = "none"
    required: bool = False
    available_at: Moment

    @field_validator("range")
    @classmethod
    def _increasing(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] < value[1]:
            msg = "range must be [low, high] with low < high"
            raise ValueError(msg)
        return value


class CategoricalVariable(Strict):
    """A value out of a closed list."""

    type: Literal["categorical"]
    categories: Annotated[tuple[str, ...], Field(min_length=2)]
    required: bool = False
    available_at: Moment

    @field_validator("categories")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            msg = "categories must differ from each other"
            raise ValueError(msg)
        return value


class DateVariable(Strict):
    """A calendar date (ISO 8601); used for eligibility and chronology only, never sent."""

    type: Literal["date"]
    required: bool = False
    available_at: Moment


Variable = Annotated[NumericVariable | CategoricalVariable | DateVariable, Field(discriminator="type")]


class Condition(Strict):
    """What a variable's value must satisfy: a list of categories, or bounds of a number or a date."""

    one_of: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    minimum: float | date | None = None
    maximum: float | date | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.one_of is None) == (self.minimum is None and self.maximum is None):
            msg = "give either one_of or minimum/maximum"
            raise ValueError(msg)
        low, high = self.minimum, self.maximum
        if low is not None and type(low) is type(high) and not low <= high:  # type: ignore[operator] # one type
            msg = "minimum must not exceed maximum"
            raise ValueError(msg)
        return self

    def holds(self, value: str | float | date) -> bool:
        """Whether a present value satisfies the condition."""
        if self.one_of is not None:
            return value in self.one_of
        above = self.minimum is None or value >= self.minimum  # type: ignore[operator] # types agree: checked by Study
        return above and (self.maximum is None or value <= self.maximum)  # type: ignore[operator]


# What intake counts patients under by itself.
_RESERVED_CODES = frozenset(
    ["included", "endpoint_unknown", "no_ct_pre", "no_ct_post", "ct_quality", "no_roi", "no_chronology", "missing"]
)


class Rule(Strict):
    """One eligibility rule of the protocol; a patient whose value is unknown is excluded as unknown."""

    code: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{2,39}$")]
    text: str
    when: dict[Name, Condition] = {}
    built_in: Literal["ct_pre", "ct_post", "chronology", "complete_clinical_data", "ct_quality", "roi"] | None = None

    @field_validator("code")
    @classmethod
    def _not_intakes_own(cls, value: str) -> str:
        if value in _RESERVED_CODES:
            msg = f"{value!r} is a code of intake's own; choose another"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.when) == (self.built_in is not None):
            msg = "give either when (conditions on variables) or built_in"
            raise ValueError(msg)
        return self


class Eligibility(Strict):
    """All of ``inclusion`` must hold and none of ``exclusion``."""

    inclusion: tuple[Rule, ...] = ()
    exclusion: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _distinct_codes(self) -> Self:
        codes = [rule.code for rule in self.inclusion + self.exclusion]
        if len(set(codes)) != len(codes):
            msg = "eligibility codes must differ from each other"
            raise ValueError(msg)
        return self


class Endpoint(Strict):
    """The outcome: positive when every condition holds; a missing component leaves it unknown.

    ``contradictions`` are sets of values that cannot all be true of one patient, such as ypT0 with a recorded
    residual tumour: a patient for whom all conditions of one hold has no usable outcome.
    """

    name: Name
    text: str
    positive_when: Annotated[dict[Name, Condition], Field(min_length=1)]
    contradictions: tuple[Rule, ...] = ()

    @field_validator("contradictions")
    @classmethod
    def _on_values(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        if any(rule.built_in for rule in rules) or len({rule.code for rule in rules}) != len(rules):
            msg = "each contradiction has a code of its own and says when (conditions on variables)"
            raise ValueError(msg)
        return rules
