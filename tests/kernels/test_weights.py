"""The formulas are the contract's, and keep a neutral pixel as it is."""

import naive
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgray.kernels import weights

VALUES = st.integers(0, 255)


@pytest.mark.parametrize("method", weights.BY_METHOD)
@given(red=VALUES, green=VALUES, blue=VALUES)
def test_each_is_the_contracts_formula(method, red, green, blue):
    gray = weights.BY_METHOD[method].gray(red, green, blue)
    assert gray == naive.BY_METHOD[method](red, green, blue)
    assert min(red, green, blue) <= gray <= max(red, green, blue)


def test_there_is_one_for_each_method_and_no_other():
    assert weights.BY_METHOD.keys() == naive.BY_METHOD.keys()


@pytest.mark.parametrize("method", weights.BY_METHOD)
def test_the_weights_are_shares_of_the_whole(method):
    w = weights.BY_METHOD[method]
    assert w.red + w.green + w.blue == w.divisor
    assert 2 * w.rounding in (0, w.divisor)
    assert [w.gray(value, value, value) for value in range(256)] == list(range(256))
