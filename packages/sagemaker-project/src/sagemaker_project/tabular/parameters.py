"""The hyperparameters of training: their defaults, limits and flags."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, fields

from sagemaker_project.tabular.cells import BadCell, number

__all__ = ["add_arguments", "from_arguments"]

LINKS = {  # {loss of a regression: its link}
    "poisson": "log",
    "gamma": "log",
    "squared_error": "identity",
    "absolute_error": "identity",
}
LOSSES = ("auto", *LINKS, "log_loss")
CLASS_WEIGHTS = ("auto", "balanced", "none")


@dataclass(frozen=True)
class Parameters:
    """Hyperparameters of the gradient boosting, and what training decides if left at auto.

    `max_iter` is the most iterations; the validation split says how many are kept. A leaf has
    `min_samples_leaf` rows or more, fewer on a small table.
    """

    learning_rate: float = 0.05
    max_iter: int = 150
    max_leaf_nodes: int = 15
    min_samples_leaf: int = 60
    l2_regularization: float = 1.0
    max_features: float = 0.5
    loss: str = "auto"
    class_weight: str = "auto"
    seed: int = 42


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each parameter, such as --learning-rate."""
    for one in fields(Parameters):
        flag, default = "--" + one.name.replace("_", "-"), one.default
        if one.name in _CHOICES:
            choices = _CHOICES[one.name]
            parser.add_argument(flag, choices=choices, default=default, help=f"default {default}")
        else:
            kind = _LIMITS[one.name]
            parser.add_argument(flag, type=kind, default=default, help=f"default {default}")


def from_arguments(args: argparse.Namespace) -> Parameters:
    return Parameters(**{one.name: getattr(args, one.name) for one in fields(Parameters)})


def whole(lowest: int, highest: int = 2**31 - 1) -> Callable[[str], int]:
    """Return the parser of a whole number from `lowest` to `highest`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {lowest} to {highest}"
            )
        return int(text)

    return parse


def real(low: float, high: float, low_included: bool = False) -> Callable[[str], float]:
    """Return the parser of a number above `low` (or equal to it, if included) and up to `high`."""

    def parse(text: str) -> float:
        try:
            value = number(text)
            if low < value <= high or (low_included and value == low):
                return value
        except BadCell:
            pass
        rule = "from" if low_included else "above"
        raise argparse.ArgumentTypeError(f"{text!r} is not a number {rule} {low:g}, up to {high:g}")

    return parse


_CHOICES = {"loss": LOSSES, "class_weight": CLASS_WEIGHTS}
_LIMITS: dict[str, Callable[[str], float]] = {
    "learning_rate": real(0, 1),
    "max_iter": whole(1, 10_000),
    "max_leaf_nodes": whole(2, 10_000),
    "min_samples_leaf": whole(1),
    "l2_regularization": real(0, 1e6, low_included=True),
    "max_features": real(0, 1),
    "seed": whole(0, 2**32 - 1),
}
