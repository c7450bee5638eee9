"""Whatever ends a command, and wherever: the same command run again gets to the same end."""

import signal

import pytest
from boundary_helpers import deny, interrupt, kill, ledger_of, lock_key, locked, run, state, unlock
from boundary_helpers import terminate
from deploy_helpers import BUCKET

ONE = [{"VariantName": "All", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}]
SCALED = [
    {
        "VariantName": "All",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 2,
        "AutoScaling": {"MinCapacity": 1, "MaxCapacity": 4, "TargetValue": 100},
    }
]


class Round:
    """Version 1 serves; a round promotes version 2, rolls it back and cleans up: the same again.

    The settings of version 2 differ so that each kind of call is made: autoscaling is registered
    and deregistered, and the instance count of version 1 is restored.
    """

    def __init__(self, place):
        self.place = place
        place.settings("staging", ProductionVariants=ONE)
        first, second = place.register(factor=2), place.register(factor=3)
        assert place.deploy("promote", "--model-package-arn", first)["ExitCode"] == 0
        counts = [{"VariantName": "All", "DesiredInstanceCount": 3}]
        place.sm.update_endpoint_weights_and_capacities(
            EndpointName=f"{place.name}-staging", DesiredWeightsAndCapacities=counts
        )
        place.settled()
        place.settings("staging", ProductionVariants=SCALED)
        self.commands = {
            "promote": ("promote", "--model-package-arn", second),
            "rollback": ("rollback",),
            "cleanup": ("cleanup",),
        }
        self.entries = len(place.entries())
        self.begin = state(place)
        self.goal, self.boundaries = {}, {}
        for name, words in self.commands.items():
            ended = run(place, words)
            assert ended.result["ExitCode"] == 0, ended.result
            self.goal[name], self.boundaries[name] = state(place), ended.boundaries
        self.rewind()

    def rewind(self):
        """The ledger as it was before the round; all the rest is so by itself."""
        for number in range(self.entries + 1, len(self.place.entries()) + 1):
            key = f"{self.place.name}/deploy/staging/ledger/{number:08d}.json"
            self.place.s3.delete_object(Bucket=BUCKET, Key=key)
        unlock(self.place)
        assert state(self.place) == self.begin

    def cut_everywhere(self, check, **cut):
        """Cut each command at each boundary, and run it again; the end is the uninterrupted one's.

        Where a cut leaves nothing but a lock, that is gone on from once, and after that the lock
        is taken away: what comes of such a state is known.
        """
        left = {name: list(range(1, len(b) + 1)) for name, b in self.boundaries.items()}
        known = {name: [] for name in left}
        while any(left.values()):
            for name, words in self.commands.items():
                before, again = state(self.place), True
                while left[name] and again:
                    number = left[name].pop(0)
                    ended = run(self.place, words, at=number, **cut)
                    where = f"{name}, at {number} ({self.boundaries[name][number - 1]})"
                    check(ended, where)
                    lock = locked(self.place)
                    again = state(self.place) == before and lock in known[name]
                    known[name].append(lock) if state(self.place) == before else None
                    if again:
                        unlock(self.place)
                result = self.place.deploy(*words)
                assert result["ExitCode"] == 0, f"{where}: {result}"
                assert state(self.place) == self.goal[name], where
            self.rewind()


def test_p8_killed_at_any_call_an_update_rollback_or_cleanup_ends_the_same(place):
    def killed(ended, where):
        assert ended.signal == signal.SIGKILL, where

    Round(place).cut_everywhere(killed, act=kill)
