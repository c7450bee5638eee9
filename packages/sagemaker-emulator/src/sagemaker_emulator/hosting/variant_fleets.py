"""The fleets of all variants of one endpoint configuration: the blue or the green side."""

from collections.abc import Callable
from typing import TypeAlias

from sagemaker_emulator.api.documents import Document
from sagemaker_emulator.hosting.capture_record import capture_format
from sagemaker_emulator.hosting.container import Container
from sagemaker_emulator.hosting.deployment_config import instances
from sagemaker_emulator.hosting.fleet import Fleet, FleetHost
from sagemaker_emulator.hosting.traffic import Destination

# Gets region, endpoint, variant, container, number of instances and `lazy`.
MakeFleet: TypeAlias = Callable[[str, str, str, Container, int, bool], Fleet]


def fleets_on(host: FleetHost) -> MakeFleet:
    return lambda *arguments: Fleet(host, *arguments)


class VariantFleets:
    """The fleets of one snapshot (see snapshots.py), shadow variants included.

    Lazy fleets count as started: each starts its workers when its first request comes.
    """

    def __init__(
        self,
        make_fleet: MakeFleet,
        region: str,
        endpoint: str,
        snapshot: Document,
        lazy: bool = False,
    ) -> None:
        self.snapshot = snapshot
        self.started = lazy
        self.fleets = {
            variant["VariantName"]: make_fleet(
                *(region, endpoint, variant["VariantName"], _container(variant)),
                *(variant["Count"], lazy),
            )
            for variant in [*snapshot["Variants"], *snapshot["Shadows"]]
        }
        # Green fleets that still serve after a failed rollback, and are stopped with these.
        self.left_over: VariantFleets | None = None

    def resize(self, share: float = 1.0) -> None:
        """Bring each fleet to its share of the instances; raise ServingError if that fails."""
        for variant in [*self.snapshot["Variants"], *self.snapshot["Shadows"]]:
            fleet = self.fleets[variant["VariantName"]]
            count = max(1, instances(variant["Count"], share))
            if not self.started:
                fleet.start(count)
            elif fleet.count != count:
                fleet.resize(count)
        self.started = True

    def stop(self) -> None:
        for fleet in self.fleets.values():
            fleet.stop()
        if self.left_over:
            self.left_over.stop()

    def destinations(self, member: str = "Variants") -> tuple[Destination, ...]:
        """Return where requests for the variants can go; `member` is Variants or Shadows."""
        return tuple(self._destination(variant) for variant in self.snapshot[member])

    def _destination(self, variant: Document) -> Destination:
        name, serverless = variant["VariantName"], variant["Serverless"] or {}
        limit = serverless.get("MaxConcurrency")
        capture = capture_format(self.snapshot.get("DataCaptureConfig"))
        return Destination(name, self.fleets[name], variant["Weight"], limit, capture)


def _container(variant: Document) -> Container:
    what = (variant["Image"], variant["ModelDataUrl"], variant["Environment"] or {})
    seconds = variant.get("StartupSeconds")
    return Container(*what, seconds) if seconds else Container(*what)
