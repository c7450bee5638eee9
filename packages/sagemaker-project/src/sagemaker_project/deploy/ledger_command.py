"""`deploy-model ledger accept`: set damaged entries aside, so that the rest of it counts."""

from sagemaker_project.deploy.calls import Members
from sagemaker_project.deploy.context import Context
from sagemaker_project.deploy.ledger_look import read_ledger
from sagemaker_project.deploy.ledger_read import Damage, Examined
from sagemaker_project.deploy.ledger_writer import append
from sagemaker_project.deploy.lock import Lock
from sagemaker_project.errors import LedgerError, Refused

MAX_MISSING = 1000  # entries in a row; so many were not lost by mistake


def accept(context: Context) -> Members:
    """Append a SetAside entry for each damaged entry that the request names.

    Of several missing in a row, the first one's number stands for all.

    Raises:
        Refused: an entry is intact, or there is none of that number.
        LedgerError: an entry is not to be set aside.
    """
    request, target = context.request, context.target
    with Lock(context, "ledger accept") as lock:
        examined = read_ledger(context, target)
        chosen = {number: _damage(examined, number) for number in request.entries}
        ledger = examined.ledger
        for first, damage in sorted(chosen.items()):
            for number in range(first, damage.last + 1):
                found = {"Entry": number, "FoundSha256": damage.found_sha256}
                entry = {"Action": "accept", **found, "Reason": request.reason}
                lock.renew()
                ledger = append(context, ledger, "SetAside", entry)
    numbers = ", ".join(map(str, sorted(chosen)))
    return {
        "Outcome": "SetAside",
        "Message": f"set aside: entry {numbers}; see {target.command('status')}",
        "Entries": sorted(chosen),
    }


def _damage(examined: Examined, number: int) -> Damage:
    """Return the damage of an entry that may be set aside."""
    for damage in examined.damage:
        if damage.number <= number <= damage.last:
            if damage.newer or damage.last - number >= MAX_MISSING:
                raise LedgerError(f"{damage.key}: {damage.why}. It is not set aside")
            return damage
    if number in examined.ledger.set_aside:
        raise Refused(f"entry {number} was set aside before; nothing was changed")
    if number < examined.ledger.next_number:
        raise Refused(f"entry {number} is intact: only a damaged one is set aside")
    raise Refused(f"there is no entry {number}: the last one is {examined.ledger.next_number - 1}")
