"""The package's own int8 engine for encoders; ONNX Runtime answers wherever it does not."""

from tinybert.engine.native import Engine, best_isa, is_built
from tinybert.engine.parts import UnknownGraphError

__all__ = ["Engine", "UnknownGraphError", "best_isa", "is_built"]
