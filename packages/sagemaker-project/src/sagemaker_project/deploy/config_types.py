"""The settings of one stage as data: what the reader makes and the rules judge."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict

Variant: TypeAlias = dict[str, Any]  # a ProductionVariant of the API, with our own members
Finding: TypeAlias = tuple[str, str]  # where in the file, and what is wrong there
Counts: TypeAlias = dict[str, int | None]  # {variant: instances}; None: serverless


class ApprovalRules(TypedDict):
    MaxAgeDays: int
    RequireTwoPeople: bool


@dataclass(frozen=True)
class Problem:
    """Why a deployment must not start: fix it if "invalid", wait if "inconclusive"."""

    kind: Literal["invalid", "inconclusive"]
    message: str


@dataclass(frozen=True)
class Config:
    """The checked settings of a stage: `content` is the file without $schema, with defaults."""

    stage: str
    path: Path
    content: dict[str, Any]
    last: bool = True  # whether it is the last stage, the one that serves users

    @property
    def production_variants(self) -> list[Variant]:
        variants: list[Variant] = self.content["ProductionVariants"]
        return variants

    @property
    def shadow_variants(self) -> list[Variant]:
        variants: list[Variant] = self.content["ShadowProductionVariants"]
        return variants

    @property
    def variants(self) -> list[Variant]:
        return self.production_variants + self.shadow_variants

    @property
    def places(self) -> Iterator[tuple[str, Variant]]:
        """Yield (where in the file, variant) for every variant."""
        for kind in ("ProductionVariants", "ShadowProductionVariants"):
            for position, variant in enumerate(self.content[kind]):
                yield f"{kind}[{position}]", variant

    @property
    def initial_counts(self) -> Counts:
        """The instances that each production variant starts with."""
        return {v["VariantName"]: v.get("InitialInstanceCount") for v in self.production_variants}

    @property
    def deployment(self) -> dict[str, Any]:
        """The DeploymentConfig, {} if there is none."""
        deployment: dict[str, Any] = self.content["DeploymentConfig"]
        return deployment

    @property
    def alarms(self) -> list[str]:
        """The names of the alarms that roll a deployment back."""
        alarms = self.deployment.get("AutoRollbackConfiguration", {}).get("Alarms", [])
        return [alarm["AlarmName"] for alarm in alarms]

    @property
    def approval(self) -> ApprovalRules:
        rules: ApprovalRules = self.content["Approval"]
        return rules

    @property
    def test(self) -> dict[str, float]:
        """The limits of an endpoint test, by name."""
        limits: dict[str, float] = self.content["EndpointTest"]
        return limits


def shown(value: object) -> str:
    """Return a value as short ASCII JSON, which keeps a message on one line."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."
