"""`deploy-model ledger accept`: set damaged entries aside, so that the rest of it counts."""

from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.ledger_look import read_ledger
from sagemaker_project.deploy.ledger_read import Examined
from sagemaker_project.deploy.ledger_writer import append
from sagemaker_project.deploy.lock import Lock
from sagemaker_project.errors import LedgerError, Refused

MAX_MISSING = 1000  # entries in a row; so many were not lost by mistake


def accept(context: Context) -> Members:
    """Append a SetAside entry for each damaged entry that the request names.

    The number of a missing entry stands for those missing right after it as well. Entries that were
    set aside before are passed over, so a command that was killed can be repeated.

    Raises:
        Refused: an entry is intact, or there is none of that number.
        LedgerError: an entry is not to be set aside.
    """
    request, target = context.request, context.target
    with Lock(context, "ledger accept") as lock:
        endpoint = context.aws.endpoint(target.endpoint)
        examined = read_ledger(context, target)
        found: dict[int, str] = {}
        for number in request.entries:
            found |= _found(examined, number)
        ledger = examined.ledger
        for number, sha256 in sorted(found.items()):
            about = {"Entry": number, "FoundSha256": sha256, "Reason": request.reason}
            lock.renew()
            ledger = append(context, ledger, "SetAside", {"Action": "accept", **about}, endpoint)
    numbers = ", ".join(map(str, sorted(found))) or "none that was not set aside before"
    return {
        "Outcome": "SetAside" if found else "Unchanged",
        "Message": f"entries set aside: {numbers}; see {target.command('status')}",
        "Entries": sorted(found),
    }


def _found(examined: Examined, number: int) -> dict[int, str]:
    """Return {number: sha256 of what was found} of what is to be set aside with an entry."""
    for damage in examined.damage:
        if damage.number <= number <= damage.last:
            if damage.newer or damage.last - number >= MAX_MISSING:
                raise LedgerError(f"{damage.key}: {damage.why}. It is not set aside")
            return dict.fromkeys(range(number, damage.last + 1), damage.found_sha256)
    if number in examined.ledger.set_aside:
        return {}
    if number < examined.ledger.next_number:
        raise Refused(f"entry {number} is intact: only a damaged one is set aside")
    raise Refused(f"there is no entry {number}: the last one is {examined.ledger.next_number - 1}")
