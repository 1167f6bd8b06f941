"""From a trained student to a folder that answers without PyTorch, and what it is worth."""

from tinybert.ship.pipeline import distill, ship
from tinybert.ship.planner import plan
from tinybert.ship.writing import seq2seq

__all__ = ["distill", "plan", "seq2seq", "ship"]
