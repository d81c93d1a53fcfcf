"""Probabilities that hold: what maps the net's probability to one that agrees with valid.

``calibration.json`` of a bundle has plain numbers, so nothing that is loaded runs code and applying
it needs NumPy alone:

- Platt: ``{"kind": "platt", "slope": a, "intercept": b}``: 1 / (1 + exp(−(a · logit p + b))).
- isotonic: ``{"kind": "isotonic", "x": [...], "y": [...]}``: the straight line between the points,
  and y's first or last value outside them.
"""

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddleinterest.core import json_text

FILE = "calibration.json"
KINDS = ("platt", "isotonic")
CLOSEST = 1e-7  # to 0 and 1, before the logit
LARGEST = 1e6  # of slope and intercept
MOST = 1_000_000  # points


@dataclass(frozen=True)
class Calibration:
    """A map of probabilities that never falls.

    Attributes:
        kind: platt or isotonic.
        slope, intercept: of Platt's map of logits.
        x, y: points of the isotonic map, float64 [P] each; x rises, y does not fall.

    Example:
        >>> Calibration("platt", 1.0, math.log(0.5))(np.array([0.5], np.float32))
        array([0.33333334], dtype=float32)
    """

    kind: str
    slope: float = 1.0
    intercept: float = 0.0
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, float32 [N], of the net's, [N]. What is not a number stays."""
        p = np.asarray(probability, np.float64)
        if self.kind == "isotonic":
            return np.interp(p, self.x, self.y).astype(np.float32)
        p = np.clip(p, CLOSEST, 1 - CLOSEST)
        z = self.slope * (np.log(p) - np.log1p(-p)) + self.intercept
        return (1 / (1 + np.exp(np.clip(-z, -700, 700)))).astype(np.float32)

    def facts(self) -> dict[str, Any]:
        """The contents of ``calibration.json``."""
        if self.kind == "isotonic":
            return {"kind": self.kind, "x": list(self.x), "y": list(self.y)}
        return {"kind": self.kind, "slope": self.slope, "intercept": self.intercept}


def write(bundle: str, calibration: Calibration) -> None:
    """Write ``calibration.json`` of a bundle."""
    with open(os.path.join(bundle, FILE), "w", encoding="utf-8") as f:
        f.write(json_text.dumps(calibration.facts()))


def read(bundle: str) -> Calibration:
    """The calibration of a bundle.

    Raises:
        ValueError: the file is not what `write` writes.
        InputError: it is not JSON.
    """
    path = os.path.join(bundle, FILE)
    with open(path, encoding="utf-8") as f:
        facts = json_text.parse(f.read(), path)
    kind = facts.get("kind") if isinstance(facts, dict) else None
    if kind == "platt" and facts.keys() == {"kind", "slope", "intercept"}:
        slope, intercept = facts["slope"], facts["intercept"]
        if _is_number(slope) and _is_number(intercept) and slope > 0:
            return Calibration("platt", float(slope), float(intercept))
    if kind == "isotonic" and facts.keys() == {"kind", "x", "y"}:
        x, y = facts["x"], facts["y"]
        if _are_points(x, y):
            return Calibration("isotonic", x=tuple(x), y=tuple(y))
    raise ValueError(f"its {FILE} is not what to_static.py writes")


def _are_points(x: Any, y: Any) -> bool:
    """True if x and y are the points of a map that never falls."""
    if not (isinstance(x, list) and isinstance(y, list) and 1 <= len(x) == len(y) <= MOST):
        return False
    if not all(map(_is_number, [*x, *y])):
        return False
    rises = bool((np.diff(x) > 0).all() and (np.diff(y) >= 0).all())
    return rises and 0 <= y[0] and y[-1] <= 1


def _is_number(raw: Any) -> bool:
    number = isinstance(raw, (int, float)) and not isinstance(raw, bool)
    return number and math.isfinite(raw) and abs(raw) <= LARGEST
