"""What every loaded artifact has in common."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert.artifact import Card
from tinybert.runtime.session import Session

__all__ = ["Answerer"]


class Answerer:
    """A loaded artifact; may be shared by many threads.

    Inputs longer than the card's ``max_length`` tokens are truncated as ``text.Tokenizer`` says.

    Args:
        session: The artifact's session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.card: Card = session.card
        self.labels = session.card.labels
        self.engine = session.engine

    def logits(self, inputs: Iterable[Any]) -> npt.NDArray[np.float32]:
        """Return the model's raw outputs, in order.

        Args:
            inputs: N texts, or N pairs ``(text, text2)``.

        Returns:
            Float32 (N, C); C = 1 for values and relevance, the width of the vectors for an
            embedder.

        Raises:
            DataError: Not a list, or an element that is not what the model takes.
        """
        return self._session.logits(inputs)
