"""Whether a deployment can start now, given the live endpoint and the alarms of the stage."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from sagemaker_project.deploy.config_deployment import (
    size_findings,
    time_findings,
    update_policy,
)
from sagemaker_project.deploy.config_types import Config, Counts, Problem
from sagemaker_project.deploy.endpoint_rules import RULES as ENDPOINT_RULES

Alarm: TypeAlias = Mapping[str, Any]  # a MetricAlarm, as DescribeAlarms returns it


def deployment_problems(
    config: Config, current_counts: Counts | None, alarms: Mapping[str, Alarm]
) -> list[Problem]:
    """Return the reasons why a deployment with these settings must not start now.

    Args:
        current_counts: {variant: instances, None for a serverless one} of the live endpoint;
            None if there is no endpoint yet.
        alarms: {name: MetricAlarm} of the alarms that exist.
    """
    problems = [*_alarm_problems(config, alarms, live=current_counts is not None)]
    if current_counts is not None:
        problems += _fleet_problems(config, current_counts)
    return problems


def _alarm_problems(config: Config, alarms: Mapping[str, Alarm], live: bool) -> Iterator[Problem]:
    bake = update_policy(config).bake
    for name in config.alarms:
        alarm, place = alarms.get(name), f"{config.path}: the alarm {name}"
        if alarm is None:
            yield Problem(
                "invalid",
                f"{place} is not a metric alarm of this account and region:"
                " create it, or remove it from AutoRollbackConfiguration",
            )
            continue
        needs = _period(alarm) * alarm.get("EvaluationPeriods", 1)
        if needs > bake:
            yield Problem(
                "invalid",
                f"{place} needs {needs:,} s to judge (Period x"
                f" EvaluationPeriods), and a step is watched for {bake:,} s:"
                " wait longer, or make the alarm faster",
            )
        if live and alarm["StateValue"] == "ALARM":
            yield Problem(
                "invalid",
                f"{place} is in ALARM already and would roll the new version"
                " back at once: find out why first",
            )
        if live and alarm["StateValue"] == "INSUFFICIENT_DATA":
            yield Problem(
                "inconclusive",
                f"{place} has no data to judge by: wait until it is OK,"
                " or set its TreatMissingData to notBreaching",
            )


def _period(alarm: Alarm) -> int:
    """Return the seconds of one period; an expression takes as long as its slowest metric."""
    periods: list[int | None] = [alarm.get("Period")]
    for metric in alarm.get("Metrics", []):
        periods += [metric.get("Period"), metric.get("MetricStat", {}).get("Period")]
    return max(period or 0 for period in periods)


def _fleet_problems(config: Config, current: Counts) -> Iterator[Problem]:
    policy, wanted = update_policy(config), config.initial_counts
    if config.deployment and set(current) != set(wanted):
        rule = ENDPOINT_RULES["deployment-names"]
        yield Problem(
            "invalid",
            f"{config.path}: the variants {_list(wanted)} are to replace {_list(current)}:"
            f" {rule.refusal}",
        )
    if config.content["RetainAllVariantProperties"]:
        counts = {name: current.get(name) or count for name, count in wanted.items()}
        for where, reason in [*size_findings(policy, counts), *time_findings(policy, counts)]:
            yield Problem(
                "invalid",
                f"{config.path}: {where}: {reason} (the live endpoint has"
                " scaled to that, and RetainAllVariantProperties keeps it)",
            )


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
