"""What a ledger says, and which of its entries are intact: pure functions of its objects."""

import json

import pytest
from evidence_helpers import deployed, entries
from sagemaker_project.deploy.ledger import Head, Ledger, encode
from sagemaker_project.deploy.ledger_read import examine

pytestmark = pytest.mark.fast


def stored(*kinds, version=2):
    """{number: bytes} of a ledger with an entry of each (kind, members)."""
    bodies, previous = {}, ""
    for number, (kind, members) in enumerate(kinds, start=1):
        about = {"Version": version, "Number": number, "Previous": previous, "Kind": kind}
        bodies[number] = encode({**about, "Time": "t", "By": "b", **members})
        previous = entry_of(bodies[number])["Sha256"]
    return bodies


def entry_of(body):
    return json.loads(body)


def cleaned(*names):
    return [("CleanedUp", {"Deleted": {"EndpointConfigs": [name], "Models": []}}) for name in names]


SIX = stored(*cleaned(*"abcdef"))
HEAD = Head(6, entry_of(SIX[6])["Sha256"])


def damaged(bodies, head=None):
    found = examine(bodies, head, str)
    assert all(entry_of(bodies[e["Number"]]) == e for e in found.ledger.entries)
    return [(one.number, one.last) for one in found.damage]


def without(*numbers):
    return {number: body for number, body in SIX.items() if number not in numbers}


def forged(*numbers):
    """The ledger with these entries written anew, each following the one before it."""
    bodies = dict(SIX)
    for number in numbers:
        before = entry_of(bodies[number - 1])["Sha256"]
        bodies[number] = encode(entry_of(SIX[number]) | {"By": "x", "Previous": before})
    return bodies


DAMAGED = {
    "nothing": (SIX, HEAD, []),
    "one in the middle": (without(3), HEAD, [(3, 3)]),
    "several in the middle": (without(2, 3, 5), HEAD, [(2, 3), (5, 5)]),
    "the end": (without(5, 6), HEAD, [(5, 6)]),
    "the end, and no endpoint has a tag": (without(5, 6), None, []),
    "everything": ({}, HEAD, [(1, 6)]),
    "the tag is far away": (SIX, Head(99_999_999, "0" * 64), [(7, 99_999_999)]),
    "all of the end was written anew": (forged(5, 6), HEAD, [(6, 6)]),
    "written anew behind the tag": (
        forged(4, 5, 6),
        Head(4, entry_of(SIX[4])["Sha256"]),
        [(4, 4), (5, 5)],
    ),
    "longer than the tag says": (SIX, Head(4, entry_of(SIX[4])["Sha256"]), []),
    "the last one, which is not named": (SIX | {6: b"?"}, None, [(6, 6)]),
    "one added at the end": (SIX | {7: SIX[6]}, HEAD, [(7, 7)]),
    "a number from nowhere": (SIX | {99_999_999: b"?", 0: b"?"}, HEAD, []),
    "not the first one": ({1: SIX[2]}, None, [(1, 1)]),
}


@pytest.mark.parametrize("bodies, head, expected", DAMAGED.values(), ids=DAMAGED)
def test_p29_damage_is_found_where_it_is(bodies, head, expected):
    assert damaged(bodies, head) == expected


def test_p29_an_entry_that_lacks_what_its_kind_has_is_damaged():
    assert damaged(stored(("Promoted", {"Deployment": {}}))) == [(1, 1)]
    assert damaged(stored(("Invented", {}))) == [(1, 1)]


def test_both_formats_are_read_and_a_newer_one_is_told():
    one, two = stored(*cleaned("a"), version=1), stored(*cleaned("a"), version=2)
    assert damaged(one) == damaged(two) == []
    (newer,) = examine(stored(*cleaned("a"), version=3), None, str).damage
    assert newer.newer and "format 3, this one reads 2" in newer.why


def promoted(number, before=None):
    return "Promoted", {"Action": "promote", "Deployment": deployed(number, before)}


def rolled_back(to, leaves):
    members = {"Deployment": deployed(to), "Leaves": deployed(leaves)}
    return "RolledBack", {"Action": "rollback", **members}


def versions(ledger):
    return [deployment["ModelPackageVersion"] for deployment in ledger.stack]


@pytest.mark.parametrize(
    "kinds, left",
    [
        ([promoted(1), promoted(2), promoted(3), rolled_back(2, 3)], [1, 2]),
        ([promoted(1), promoted(2), promoted(3), rolled_back(1, 3)], [1]),
        ([promoted(1), promoted(2), promoted(1), promoted(3), rolled_back(1, 3)], [1, 2, 1]),
        ([promoted(1), promoted(3), rolled_back(2, 3)], [1, 2]),  # 2's entry was set aside
        ([rolled_back(2, 3)], [2]),
    ],
)
def test_a_rollback_leaves_all_that_came_after_the_one_it_leads_to(kinds, left):
    assert versions(entries(*kinds)) == left


def test_an_approval_is_used_up_by_a_rollback_past_it():
    ledger = entries(promoted(1), promoted(2), promoted(3), rolled_back(1, 3))
    for version, ended in ((1, "Promoted"), (2, "RolledBack"), (3, "RolledBack")):
        approval = deployed(version)["Approval"]["Time"]
        used = ledger.uses(deployed(version)["ModelPackageArn"], approval)
        assert used["Kind"] == ended, version


def test_p17_no_test_counts_before_an_entry_that_was_set_aside():
    test = {"ModelPackageArn": "arn", "ConfigHash": "hash", "Status": "Passed", "Pins": []}
    aside = ("SetAside", {"Entry": 2, "FoundSha256": "", "Reason": "r"})
    first, *rest = entries(("Tested", {"Test": test}), ("Tested", {"Test": test}), aside).entries
    assert Ledger((first, *rest[:1])).test("arn", "hash")
    assert Ledger((first, rest[1])).test("arn", "hash") is None
    later = {**first, "Number": 4}
    assert Ledger((first, rest[1], later)).test("arn", "hash")
