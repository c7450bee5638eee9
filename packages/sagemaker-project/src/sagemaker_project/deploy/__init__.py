"""From an approved model package to an endpoint that serves it, and back.

    deploy_model, commands   the program, and what each of its commands does
    arguments, request   the command line, and the frozen request that it makes
    context, target      what a command works with, and the stage that it acts on
    look -> evidence     read everything that a command decides on
    candidate, names     the version as it would be deployed; names that follow from content
    container, creation  what a model is created from; the steps that create what is missing
    gates, endpoint_gates    pure functions of the evidence that may refuse
    drift, interrupted, recovery    changes by hand; how a killed deployment ended; what to type
    promotion, rollback, cleanup, scaling -> steps    pure functions from the evidence to a plan
    executor, undo       do the steps of a plan; undo what cannot be finished
    lock                 one deployment at a time
    ledger, ledger_read, ledger_look, ledger_writer    what happened so far, in S3; what is intact
    ledger_command, history    set a damaged entry aside; list what happened
    calls, client, aws, matching    requests to AWS: retries, deadlines, each change once
    artifact             check a model.tar.gz
    endpoint_test*, smoke_test    invoke an endpoint with recorded requests, judge, report
    look_status -> observation    read what `status` judges by; traffic: the last minutes
    recommendation, advice, verdict, rollout    what is concluded from it, and what to type
    status, display, status_display    what serves and what happened; results as text
    registry, next_command    approve and reject; the command to type after another one
    audit                trace a prediction back to the data and the commit
    config*              the settings of a stage
    endpoint_rules       what SageMaker allows for an endpoint

Public are the names in `__all__`; the rest may change with any version.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sagemaker_project.errors import Refused
from sagemaker_project.project import Project

if TYPE_CHECKING:
    from sagemaker_project.clock import Clock
    from sagemaker_project.deploy.evidence import Evidence

__all__ = ["Evidence", "Refused", "main"]


def main(
    project: Project,
    argv: Sequence[str] | None = None,
    gates: Sequence[Callable[[Evidence], None]] = (),
    clock: Clock | None = None,
) -> int:
    """Run the command `deploy-model` of a project; return its exit code.

    Args:
        gates: of the project's own. Each gets the Evidence of a promotion and raises Refused to
            stop it; they are asked after the built-in ones, before anything is changed.
        clock: the time, for tests.
    """
    try:
        from sagemaker_project.deploy import deploy_model
    except KeyboardInterrupt:
        from sagemaker_project import cli

        with cli.output():
            return cli.report("deploy-model", "interrupted; nothing was changed", 130)
    return deploy_model.main(project, argv, gates, clock)


def __getattr__(name: str) -> Any:
    """Import Evidence when it is asked for: `--help` does without it and what it imports."""
    if name == "Evidence":
        from sagemaker_project.deploy.evidence import Evidence

        return Evidence
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
