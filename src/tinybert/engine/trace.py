"""Steps through a graph from what is made to what it was made of."""

from typing import cast

import numpy as np

from tinybert.engine.graph import Array, Graph, Node
from tinybert.engine.parts import Floats, UnknownGraphError

__all__ = ["Trace"]


class Trace:
    """Walks a graph against the direction of its data.

    Args:
        graph: Its nodes in an order in which each reads what stands before it.

    Raises:
        UnknownGraphError: They are not.
    """

    def __init__(self, graph: Graph) -> None:
        self.weights = graph.weights
        self.makers: dict[str, Node] = {}
        made = {name for node in graph.nodes for name in node.outputs}
        for node in graph.nodes:
            if any(name in made and name not in self.makers for name in node.inputs):
                raise UnknownGraphError("a node before those that it reads")
            self.makers |= dict.fromkeys(node.outputs, node)

    def op(self, name: str) -> str:
        """Return which operation makes a value; a graph's input has none."""
        return self.makers[name].op if name in self.makers else ""

    def made(self, name: str, *ops: str) -> Node:
        """Return the node that makes a value, one of these operations."""
        if self.op(name) not in ops:
            raise UnknownGraphError(
                f"`{name}` made by {self.op(name) or 'nothing'}, not {' or '.join(ops)}"
            )
        return self.makers[name]

    def weight(self, name: str, axes: int) -> Array:
        """Return a weight with so many axes."""
        found = self.weights.get(name)
        if found is None or found.ndim != axes:
            raise UnknownGraphError(f"`{name}` is no weight of {axes} axes")
        return found

    def floats(self, name: str, axes: int) -> Floats:
        """Return a float32 weight, copied so that it is aligned."""
        found = self.weight(name, axes)
        if found.dtype != np.float32:
            raise UnknownGraphError(f"`{name}` of {found.dtype}")
        return cast(Floats, np.array(found))

    def number(self, name: str) -> float:
        """Return a weight that is one number."""
        found = self.weights.get(name)
        if found is None or found.size != 1:
            raise UnknownGraphError(f"`{name}` is no number")
        return float(found.reshape(())[()])
