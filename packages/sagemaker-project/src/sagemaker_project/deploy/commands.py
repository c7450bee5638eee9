"""What each command of `deploy-model` does: one function each, in COMMANDS or in PROMOTIONS.

A promotion is look, gates, plan, execute; those in PROMOTIONS also take the project's own gates.
Each function returns a result: a dict with an Outcome, a Message in one line, and what the command
is about. A command that cannot do its work raises one of the errors in sagemaker_project.errors,
and nothing else.
"""

from collections.abc import Callable, Sequence

from sagemaker_project.deploy.audit.command import audit
from sagemaker_project.deploy.calls import Call, Members
from sagemaker_project.deploy.cleanup import plan_cleanup
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.endpoint_gates import CLEANUP_GATES, ROLLBACK_GATES
from sagemaker_project.deploy.endpoint_test_command import test
from sagemaker_project.deploy.evidence import Evidence, State
from sagemaker_project.deploy.executor import Executor
from sagemaker_project.deploy.gates import GATES, Gate, check, if_it_deploys
from sagemaker_project.deploy.history import history
from sagemaker_project.deploy.ledger import Ledger
from sagemaker_project.deploy.ledger_command import accept
from sagemaker_project.deploy.lock import Lock
from sagemaker_project.deploy.look import look, look_back, look_for_cleanup
from sagemaker_project.deploy.next_command import next_command
from sagemaker_project.deploy.promotion import plan_promotion, token
from sagemaker_project.deploy.registry import approve, reject
from sagemaker_project.deploy.rollback import last_rollback, plan_rollback, versions_below
from sagemaker_project.deploy.status import status
from sagemaker_project.deploy.steps import Plan
from sagemaker_project.deploy.target import Target
from sagemaker_project.errors import DeployFailed, Refused

Gates = Sequence[Gate]


def promote(context: Context, gates: Gates) -> Members:
    """Bring a version into service.

    Args:
        gates: of the project's own, asked after GATES where a version is to be deployed.
    """
    evidence = look(context)
    plan = _allowed_plan(evidence, gates)
    if plan.steps:
        with Lock(context, f"promote version {evidence.candidate.version}") as lock:
            evidence = look(context, before=evidence)
            plan = _allowed_plan(evidence, gates)
            for note in plan.notes:
                context.say(note)
            Executor(context, evidence, lock).do(plan)
    if not plan.steps:  # another command may have deployed it before this one took the lock
        return _promotion(evidence, plan, "Unchanged", f"{_serves(evidence)}: already deployed")
    return _promotion(evidence, plan, "Promoted", _serves(evidence))


def _allowed_plan(evidence: Evidence, gates: Gates) -> Plan:
    """Ask the gates, and return the plan that they allow."""
    check(GATES, evidence)
    check(map(if_it_deploys, gates), evidence)
    plan = plan_promotion(evidence)
    given = evidence.request.plan_token
    if plan.steps and given and given != token(plan, evidence):
        raise Refused(
            "--plan-token: what would be done now is not what that plan said: look at"
            f" {evidence.target.command('plan')} again"
        )
    return plan


def plan(context: Context, gates: Gates) -> Members:
    """Return the calls that promote would make, and a token that stands for exactly these."""
    evidence = look(context)
    found = _allowed_plan(evidence, gates)
    if not found.steps:
        return _promotion(evidence, found, "Unchanged", f"{_serves(evidence)}: nothing to do")
    calls = len(_calls(evidence, found))
    message = f"{calls} calls would change something; nothing was changed"
    result = _promotion(evidence, found, "Planned", message)
    return {**result, "PlanToken": token(found, evidence)}


def _serves(evidence: Evidence) -> str:
    return f"{evidence.target.endpoint} serves version {evidence.candidate.version}"


def _calls(evidence: Evidence, plan: Plan) -> list[Call]:
    """Return every call that doing a plan sends, with those that take and release the lock."""
    lock, unlock = evidence.target.lock_calls
    calls = plan.calls_with_tags(evidence.endpoint is not None)
    return [lock, *calls, unlock] if plan.steps else []


def _promotion(evidence: Evidence, plan: Plan, outcome: str, message: str) -> Members:
    return {
        "Outcome": outcome,
        "Message": message,
        "ModelPackageArn": evidence.candidate.arn,
        "EndpointName": evidence.target.endpoint,
        "EndpointConfigName": evidence.candidate.name,
        "ConfigHash": evidence.candidate.config_hash,
        "Calls": [call.described() for call in _calls(evidence, plan)],
        "Notes": list(plan.notes),
    }


def rollback(context: Context) -> Members:
    """Put an earlier version back: that of --to, or the one before the last promotion."""
    with Lock(context, "rollback") as lock:
        evidence = look_back(context)
        check(ROLLBACK_GATES, evidence)
        plan = plan_rollback(evidence)
        for note in plan.notes:
            context.say(note)
        executor = Executor(context, evidence, lock)
        try:
            executor.do(plan)
        except DeployFailed:  # so ends the undoing of a first promotion
            if not evidence.never_served:
                raise
    return _rolled_back(evidence, plan, executor.ledger)


def _rolled_back(state: State, plan: Plan, ledger: Ledger) -> Members:
    target, current = state.target, ledger.current
    result = {"Outcome": "RolledBack", "EndpointName": target.endpoint}
    if current is None:
        why, go_on = ledger.entries[-1]["Reason"], target.command("promote", "--latest-approved")
        message = f"nothing serves: the first promotion failed ({why}), and what it made is deleted"
        return {**result, "Message": f"{message}. To go on: {go_on}"}
    message = f"{target.endpoint} serves version {current['ModelPackageVersion']}"
    if not plan.steps:
        last = last_rollback(ledger)
        how = f": rolled back on {last['Time'][:16]}" if last else " already"
        result["Outcome"], message = "Unchanged", f"{message}{how}; {_further(target, ledger)}"
    return {
        **result,
        "Message": message,
        "ModelPackageArn": current["ModelPackageArn"],
        "EndpointConfigName": current["EndpointConfigName"],
    }


def _further(target: Target, ledger: Ledger) -> str:
    """Say how to go back beyond the version that serves."""
    below = versions_below(ledger)
    if not below:
        return "no version before it is left to roll back to"
    return f"to go further back: {target.command('rollback', '--to', str(below[0]))}"


def cleanup(context: Context) -> Members:
    """Delete what earlier deployments left and nothing needs."""
    plan = plan_cleanup(look_for_cleanup(context))
    if plan.steps:
        with Lock(context, "cleanup") as lock:
            state = look_for_cleanup(context)
            check(CLEANUP_GATES, state)
            plan = plan_cleanup(state)
            Executor(context, state, lock).do(plan)
    deleted = [call.described() for call in plan.calls if call.operation.startswith("Delete")]
    message = f"{len(deleted)} resources deleted, none of them in use"
    return {"Outcome": "CleanedUp", "Message": message, "Deleted": deleted}


Command = Callable[[Context], Members]
COMMANDS: dict[str, Command] = {
    "test": test,
    "rollback": rollback,
    "status": status,
    "history": history,
    "audit": audit,
    "cleanup": cleanup,
    "ledger": accept,
    "approve": approve,
    "reject": reject,
}
PROMOTIONS: dict[str, Callable[[Context, Gates], Members]] = {"plan": plan, "promote": promote}


def run(context: Context, gates: Gates) -> Members:
    """Run the command that the request names; its result has the next command to type."""
    command = context.request.command
    if command in PROMOTIONS:
        result = PROMOTIONS[command](context, gates)
    else:
        result = COMMANDS[command](context)
    return result if "Next" in result else {**result, "Next": next_command(context, result)}
