"""Weights in the order in which SIMD kernels read them.

`sxtb16` widens bytes 0 and 2 of a word to two halves of 16 bits, and after a rotation by 8 bytes 1
and 3. So a word holds two inputs of two rows, (row 0, row 1, row 0, row 1), and gives a pair of
inputs for each of the rows without a shift. Rows come in blocks of four, one or two that are left
in a block of two. Inputs come in fours, as pairs (0, 2) and (1, 3): the order in which `sxtb16`
widens the activations. What is missing to four inputs or two rows is zero.
"""

import numpy as np
from jaxtyping import Int8


def row_bytes(n: int) -> int:
    """Inputs of a row after padding to a multiple of four."""
    return -(-n // 4) * 4


def pack_rows(weight: Int8[np.ndarray, "rows n"]) -> Int8[np.ndarray, " bytes"]:
    """A matrix of weights as blocks of four rows, and maybe one of two."""
    rows, n = weight.shape
    padded = np.zeros((-(-rows // 2) * 2, row_bytes(n)), np.int8)
    padded[:rows, :n] = weight
    whole = len(padded) // 4 * 4
    return np.concatenate([_blocks(padded[:whole], 4), _blocks(padded[whole:], 2)])


def _blocks(rows: np.ndarray, together: int) -> np.ndarray:
    # Axes: block, word of the block, row of the word, four, input of the pair, pair.
    split = rows.reshape(-1, together // 2, 2, rows.shape[1] // 4, 2, 2)
    return split.transpose(0, 3, 5, 1, 4, 2).reshape(-1)
