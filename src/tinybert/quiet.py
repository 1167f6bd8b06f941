"""Keeps the libraries from drawing bars for steps that take no time."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["no_bars"]


@contextmanager
def no_bars() -> Iterator[None]:
    """Let neither datasets nor transformers draw a bar, as for each small file that is written."""
    import datasets
    from transformers.utils import logging

    ours = not datasets.are_progress_bars_disabled()
    theirs = logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if ours:
            datasets.enable_progress_bars()
        if theirs:
            logging.enable_progress_bar()
