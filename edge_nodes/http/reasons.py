"""What the door tells of reasons: the schemas of explanations, of replays and of the catalogue."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tidegate.features.declarations import FEATURE_COUNT
from tidegate.limits import EXPLAINED_FEATURES_DEFAULT


class FeatureAnswer(BaseModel):
    """What one feature did to the score; without value and contribution for keys of single merchants."""

    feature: str
    label: str
    value: Annotated[float | None, Field(description="None where the feature is missing, or may not be told")]
    unit: str
    contribution: Annotated[float | None, Field(description="in log odds; above 0 it raises the risk")]
    direction: Literal["raises", "lowers", "none"]
    text: str


class OthersAnswer(BaseModel):
    """What the features that are not told did in sum."""

    count: int
    contribution: float | None


class ExplanationAnswer(BaseModel):
    """What a margin is made of: base and all contributions add up to it, as `sums_to_margin` says."""

    base: Annotated[float | None, Field(description="the margin of a payment of which nothing is known, in log odds")]
    margin: Annotated[float | None, Field(description="the model's score in log odds, before calibration")]
    sums_to_margin: Annotated[bool | None, Field(description="within the rounding of a sum in float32")]
    trained_at: Annotated[str, Field(description="when the model was trained that scored it")]
    features: list[FeatureAnswer]
    others: OthersAnswer


class VersionsAnswer(BaseModel):
    """What a decision rested on."""

    bundle: str
    config: str
    policy: str
    lists: int
    overlay: Annotated[int, Field(description="what other sites did: all versions of their log before this; 0: none")]
    features: str


class RuleAnswer(BaseModel):
    """What one rule did; its words where the policy that decided is still in force."""

    number: int
    did: Annotated[
        Literal["decided", "braked", "suppressed", "failed", "hit"],
        Field(description="hit alone: it is a shadow, or another word was stronger"),
    ]
    id: str | None = None
    version: int | None = None
    state: str | None = None
    text: str | None = None


class DifferenceAnswer(BaseModel):
    """A field that came out otherwise."""

    field: str
    stored: str
    replayed: str


class ReplayAnswer(BaseModel):
    """Whether a decision comes out the same, to the bit, from what was stored."""

    equal: bool
    differences: list[DifferenceAnswer]


class CatalogueReason(BaseModel):
    """One entry of the catalogue; number and code are never reused."""

    number: int
    code: str
    source: Literal["rule", "model", "list", "limit", "system"]
    text: str
    action: str


class CatalogueFeature(BaseModel):
    """One input of the model, as explanations name it."""

    feature: str
    label: str
    unit: str
    meaning: str


class CatalogueAnswer(BaseModel):
    """All reasons that a decision may name, all features that an explanation may, and what a payer may be told."""

    data: list[CatalogueReason]
    features: list[CatalogueFeature]
    payer: Annotated[dict[str, str], Field(description="by outcome; never why")]


class StoredQuery(BaseModel):
    """How much to tell of a decision."""

    model_config = ConfigDict(extra="forbid")

    explain: Annotated[bool, Field(description="also what each feature did to the score")] = False
    top: Annotated[int, Field(ge=1, le=FEATURE_COUNT, description="features told one by one")] = (
        EXPLAINED_FEATURES_DEFAULT
    )
