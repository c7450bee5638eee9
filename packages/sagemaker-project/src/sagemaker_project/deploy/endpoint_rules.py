"""What SageMaker allows for an endpoint: the rows of endpoint_rules.json, each with its source.

sagemaker-emulator refuses what the rows say, and deploy-model of sagemaker-project refuses the same
before any call. Neither package needs the other, so both have this module and the table, byte for
byte the same. The emulator's are the originals; tests/test_endpoint_rules.py compares the copies.

A row says what it is about, whether SageMaker allows it, why, what to do instead, and the page of
AWS's documentation that it rests on. `unverified` says what that page leaves open. A row with
`features` is about settings that have all of them; one with `least` and `most` is a limit; the rest
are looked up by their id where the code decides.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Source:
    """A page of AWS's documentation."""

    name: str
    url: str


@dataclass(frozen=True)
class Rule:
    """A row of the table."""

    id: str
    about: str
    allowed: bool
    reason: str
    source: Source
    checked_by: tuple[str, ...]  # operations of the API; "settings", "live endpoint": deploy-model
    advice: str = ""
    unverified: str = ""
    features: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    least: int = 0
    most: int = 0

    @property
    def refusal(self) -> str:
        """Why it is refused and what to do, in one line."""
        return f"{self.reason}: {self.advice}" if self.advice else self.reason

    @property
    def sentence(self) -> str:
        """The refusal as a sentence of its own."""
        return f"{self.refusal[0].upper()}{self.refusal[1:]}."


def _read() -> dict[str, Rule]:
    table = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    sources = {name: Source(**source) for name, source in table["sources"].items()}
    rules = {}
    for row in table["rules"]:
        row["source"] = sources[row["source"]]
        members: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in row.items()
        }
        rules[row["id"]] = Rule(**members)
    return rules


RULES = _read()
# A feature that an endpoint has where this member is given.
MEMBERS = {
    "asynchronous": "AsyncInferenceConfig",
    "cross-Region traffic": "CrossRegionTrafficConfig",
    "deployment": "DeploymentConfig",
    "network isolation": "EnableNetworkIsolation",
    "shadow": "ShadowProductionVariants",
    "VPC": "VpcConfig",
}


def is_serverless(settings: Mapping[str, Any]) -> bool:
    """Return whether an endpoint configuration, or settings like it, have a serverless variant."""
    shadows = settings.get("ShadowProductionVariants") or []
    return any(v.get("ServerlessConfig") for v in [*settings["ProductionVariants"], *shadows])


def features(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return {feature: the member that it is in} of an endpoint.

    Args:
        settings: members of CreateEndpointConfig, with VpcConfig and EnableNetworkIsolation of the
            models, and the DeploymentConfig of an update.
    """
    found = {feature: member for feature, member in MEMBERS.items() if settings.get(member)}
    if is_serverless(settings):
        found["serverless"] = "ProductionVariants"
    if len(settings["ProductionVariants"]) > 1:
        found["several variants"] = "ProductionVariants"
    if len(settings.get("ShadowProductionVariants") or []) > 1:
        found["several shadows"] = "ShadowProductionVariants"
    capture = settings.get("DataCaptureConfig")
    if capture and capture.get("EnableCapture", True):
        found["data capture"] = "DataCaptureConfig"
    for feature, policy in (
        ("blue/green", "BlueGreenUpdatePolicy"),
        ("rolling", "RollingUpdatePolicy"),
    ):
        if policy in (settings.get("DeploymentConfig") or {}):
            found[feature] = f"DeploymentConfig.{policy}"
    return found


def conflicts(settings: Mapping[str, Any]) -> Iterator[tuple[str, Rule]]:
    """Yield (member, rule) for features of these settings that SageMaker does not combine."""
    found = features(settings)
    for rule in RULES.values():
        if rule.features and not rule.allowed and set(rule.features) <= set(found):
            yield found[rule.features[-1]], rule


def conversion(live: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None) -> Rule | None:
    """Return the rule about an update from one endpoint configuration to another.

    None where both have instances, both are serverless, or one of them does not exist.
    """
    if not live or not wanted:
        return None
    kinds = ["serverless" if is_serverless(config) else "instances" for config in (live, wanted)]
    return RULES["-to-".join(kinds)] if kinds[0] != kinds[1] else None
