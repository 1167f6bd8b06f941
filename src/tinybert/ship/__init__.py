"""From a trained student to a folder that answers without PyTorch, and what it is worth."""

from tinybert.ship.pipeline import distill, ship
from tinybert.ship.planner import plan

__all__ = ["distill", "plan", "ship"]
