"""Weights in the order in which SIMD kernels read them.

`sxtb16` widens bytes 0 and 2 of a word to two halves of 16 bits, and after a rotation by 8 bytes 1
and 3. So a word holds two inputs of two rows, (row 0, row 1, row 0, row 1), and gives a pair of
inputs for each of the rows without a shift. Inputs come in fours, as pairs (0, 2) and (1, 3): the
order in which `sxtb16` widens the activations. What is missing to four inputs or two rows is zero.
"""

import numpy as np
from jaxtyping import Int8


def row_bytes(n: int) -> int:
    """Inputs of a row after padding to a multiple of four."""
    return -(-n // 4) * 4


def pack_rows(weight: Int8[np.ndarray, "rows n"]) -> Int8[np.ndarray, " bytes"]:
    """A matrix of weights, two rows after two."""
    rows, n = weight.shape
    padded = np.zeros((-(-rows // 2) * 2, row_bytes(n)), np.int8)
    padded[:rows, :n] = weight
    # Axes: two rows, row of them, four inputs, input of the pair, pair.
    split = padded.reshape(-1, 2, row_bytes(n) // 4, 2, 2)
    return split.transpose(0, 2, 4, 3, 1).reshape(-1)
