"""What the kernels' proofs rest on: exact division in 16 bits."""

import numpy as np
import pytest

from batchgray.kernels import method_code, methods, weights


class Numbers:
    """numpy's uint16 in place of the lanes."""

    def __init__(self, values):
        self.values = values.astype(np.uint16)

    def __add__(self, other):
        return Numbers(self.values + other.values)

    def __rshift__(self, bits):
        return Numbers(self.values >> bits)

    def high_product(self, factor):
        return Numbers(self.values.astype(np.uint32) * factor >> 16)


def test_every_sum_of_bt601_is_divided_exactly_in_16_bits():
    sums = np.arange(255 * 100 + 1)
    assert np.array_equal(method_code.divided_by_100(Numbers(sums)).values, sums // 100)


@pytest.mark.parametrize("method", ["bt709", "luma"])
def test_the_weights_are_such_as_the_proof_of_the_estimate_needs(method):
    w = weights.BY_METHOD[method]
    estimating = method_code.estimating(w)
    assert sum(256 * part % w.divisor for part in w[:3]) == w.divisor
    assert 256 * w.rounding % w.divisor == 0
    assert 255 * sum(estimating[:3]) + estimating.rounding < 1 << 16
    assert 2 * w.divisor < 1 << 15


def test_there_is_code_for_every_formula():
    assert method_code.functions().keys() == weights.BY_METHOD.keys() == methods.BY_METHOD.keys()
