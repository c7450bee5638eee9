"""Which production variant takes a request.

A `Route` says where an endpoint's requests go. The control plane replaces it whole, from any
thread, and never changes it. The data plane counts the requests of each route (`Traffic`), so that
every variant gets exactly its share instead of a random one.
"""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sagemaker_emulator.api.documents import Document
from sagemaker_emulator.api.moto_services import ACCOUNT
from sagemaker_emulator.errors import AwsError
from sagemaker_emulator.hosting.capture_record import CaptureFormat
from sagemaker_emulator.hosting.fleet import Fleet


@dataclass(frozen=True)
class Destination:
    """A variant's fleet that may get requests, and its weight among the others."""

    variant: str
    fleet: Fleet
    weight: float
    max_concurrency: int | None = None  # of a serverless variant: more at once is throttled
    capture: CaptureFormat | None = None  # as its endpoint configuration says


@dataclass(frozen=True)
class Route:
    """Where an endpoint's requests go; during a deployment, a share of them goes to green."""

    endpoint: str
    blue: tuple[Destination, ...]
    green: tuple[Destination, ...] = ()
    green_share: float = 0.0  # from 0 to 1
    shadows: tuple[Destination, ...] = ()  # the weight is the share of requests that is copied
    asynchronous: Document | None = None  # AsyncInferenceConfig


class EvenShare:
    """Take a share of the requests evenly: 0.25 is every fourth."""

    def __init__(self) -> None:
        self.sum = 0.0

    def take(self, share: float) -> bool:
        """Return whether the next request is one of the share."""
        self.sum += share
        if self.sum < 1 - 1e-9:
            return False
        self.sum -= 1
        return True


class Traffic:
    """The requests of one route, as they are shared out."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.shifted = EvenShare()
        # By fleet: one for all would be in step with the routing, and leave out whole variants.
        self.captured: defaultdict[Fleet, EvenShare] = defaultdict(EvenShare)
        self.copied = [EvenShare() for _ in route.shadows]
        self.blue_credits = [0.0] * len(route.blue)
        self.green_credits = [0.0] * len(route.green)

    def choose(self, target: str | None = None, session: str | None = None) -> Destination | None:
        """Choose where the next request goes; None if there is no variant named `target`.

        Requests of one session go to the same variant for as long as the route stays.
        """
        route = self.route
        point = zlib.crc32(session.encode()) / 2**32 if session else None
        if not route.green:
            to_green = False
        elif point is None:
            to_green = self.shifted.take(route.green_share)
        else:
            to_green = point < route.green_share
        destinations, others = route.blue, route.green
        if to_green:
            destinations, others = others, destinations
        if target:
            return next((d for d in (*destinations, *others) if d.variant == target), None)
        if len(destinations) == 1:
            return destinations[0]
        if session:
            return _at(destinations, zlib.crc32(session.encode()[::-1]) / 2**32)
        return _most_credit(destinations, self.green_credits if to_green else self.blue_credits)

    def capture(self, destination: Destination) -> CaptureFormat | None:
        """Return how the next answer of a destination is captured; None if it is not."""
        chosen = destination.capture
        return chosen if chosen and self.captured[destination.fleet].take(chosen.share) else None


def _most_credit(destinations: Sequence[Destination], credits: list[float]) -> Destination:
    """Add its weight to each credit; choose the largest, and subtract all weights from it."""
    for number, destination in enumerate(destinations):
        credits[number] += destination.weight
    most = max(range(len(destinations)), key=credits.__getitem__)
    credits[most] -= sum(destination.weight for destination in destinations)
    return destinations[most]


def _at(destinations: Sequence[Destination], point: float) -> Destination:
    """Return the destination at a point from 0 to 1 of a line that is divided by the weights."""
    rest = point * sum(destination.weight for destination in destinations)
    for destination in destinations:
        rest -= destination.weight
        if rest < 0:
            return destination
    return destinations[-1]


class Routes:
    """The routes of all endpoints, which the control plane writes and the data plane reads."""

    def __init__(self) -> None:
        self.traffic: dict[tuple[str, str], Traffic] = {}  # by region and endpoint

    def set(self, region: str, route: Route) -> None:
        self.traffic[region, route.endpoint] = Traffic(route)

    def remove(self, region: str, endpoint: str) -> None:
        self.traffic.pop((region, endpoint), None)

    def find(self, region: str, endpoint: str) -> Traffic:
        """Return the traffic of an endpoint; raise AwsError if it does not serve."""
        traffic = self.traffic.get((region, endpoint))
        if traffic is None:
            raise AwsError(
                "ValidationError", f"Endpoint {endpoint} of account {ACCOUNT} not found."
            )
        return traffic

    def instances(self, region: str, endpoint: str, variant: str) -> int:
        """Return the number of a variant's instances now, blue and green together; at least 1."""
        traffic = self.traffic.get((region, endpoint))
        destinations = (*traffic.route.blue, *traffic.route.green) if traffic else ()
        return sum(d.fleet.count for d in destinations if d.variant == variant) or 1
