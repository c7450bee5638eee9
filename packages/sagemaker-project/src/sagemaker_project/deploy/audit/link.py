"""One link of the chain, and how two statements make it verified, recorded or FAILED."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["verified", "recorded", "FAILED"]

VERIFIED: Status = "verified"
RECORDED: Status = "recorded"
FAILED: Status = "FAILED"


@dataclass(frozen=True)
class Link:
    """A line of an audit; `note` says what was compared, or what could not be."""

    name: str
    value: str
    source: str
    status: Status
    note: str = ""

    def described(self) -> dict[str, str]:
        """Return the link as the report and --json have it."""
        return {member.capitalize(): text for member, text in asdict(self).items()}


def compared(name: str, source: str, found: str, claims: Mapping[str, str], gone: str = "") -> Link:
    """Compare what was recomputed or read from `source` with what others say that it is.

    Args:
        found: '' where it could not be read; `gone` then says why.
        claims: {who says so: what}; '' and "unknown" are no claims.
    """
    known = {who: text for who, text in claims.items() if text not in ("", "unknown")}
    differing = {who: text for who, text in known.items() if text != found}
    value = found or next(iter(known.values()), "unknown")
    if not found:
        others = set(known.values())
        if len(others) > 1:
            return Link(name, value, source, FAILED, f"{gone}; {listed(known)}")
        return Link(name, value, source, RECORDED, gone)
    if differing:
        return Link(name, found, source, FAILED, f"{listed(differing)}, found {found}")
    if not known:
        return Link(name, found, source, RECORDED, "nothing to compare it with")
    return Link(name, found, source, VERIFIED, f"as in {' and '.join(known)}")


def listed(claims: Mapping[str, str]) -> str:
    return "; ".join(f"{who} says {text}" for who, text in claims.items())


def failed(links: Iterable[Link]) -> list[Link]:
    return [link for link in links if link.status == FAILED]
