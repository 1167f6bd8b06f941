"""Bars are drawn again after steps that need none, whatever they ended in."""

import datasets
import pytest
from transformers.utils import logging

from tinybert.quiet import no_bars


@pytest.mark.parametrize("shown", [True, False])
def test_bars_are_as_before(shown):
    (datasets.enable_progress_bars if shown else datasets.disable_progress_bars)()

    def write():
        assert datasets.are_progress_bars_disabled()
        assert not logging.is_progress_bar_enabled()
        raise KeyError

    with pytest.raises(KeyError), no_bars():
        write()
    assert datasets.are_progress_bars_disabled() is not shown
    assert logging.is_progress_bar_enabled()
    datasets.enable_progress_bars()
