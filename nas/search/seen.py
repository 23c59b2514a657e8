"""Which architectures were told already."""

import base64
from math import prod

import numpy as np
from jaxtyping import Bool, UInt64

from search_spaces.space import Archs, SearchSpace

Codes = UInt64[np.ndarray, " n"]

# So many new codes are kept apart before they are put in order with all others.
_MOST_RECENT = 4096


class Seen:
    """The canonical architectures told so far, as 64-bit codes.

    The code is the mixed-radix number of the entries where all of them fit into 64 bits. Otherwise
    it is a sum of random multiples of the entries: two architectures share one with a probability
    of about 2^-60, and all that follows is that one of them is never proposed.

    Args:
        space: where the architectures come from.
    """

    def __init__(self, space: SearchSpace) -> None:
        cardinality = [int(c) for c in space.cardinality]
        if prod(cardinality) <= 2**64:
            weights = [prod(cardinality[:i]) for i in range(len(cardinality))]
            self._weights = np.array(weights, np.uint64)
        else:
            # Raw bits: numpy keeps them the same for ever, and saved states hold the codes.
            self._weights = np.random.PCG64(0).random_raw(len(cardinality)) | np.uint64(1)
        self._old = self._recent = np.zeros(0, np.uint64)
        self._listed: Codes | None = None
        # The only architectures that may be proposed; None where all may be.
        self.only: Archs | None = None

    def restrict(self, archs: Archs) -> None:
        """Count all but these canonical architectures as told."""
        self.only, self._listed = archs, np.sort(self.codes(archs))

    def __len__(self) -> int:
        return len(self._old) + len(self._recent)

    def codes(self, archs: Archs) -> Codes:
        """Codes of canonical architectures; equal codes mean equal architectures."""
        return archs.astype(np.uint64) @ self._weights

    def contains(self, codes: Codes) -> Bool[np.ndarray, " n"]:
        """Which of the codes were added, or are not to be proposed; fastest where they ascend."""
        return self._told(codes) | ~self.permits(codes)

    def permits(self, codes: Codes) -> Bool[np.ndarray, " n"]:
        """Which of the codes are among those that may be proposed, told or not."""
        if self._listed is None:
            return np.ones(len(codes), bool)
        return _in_order(self._listed, codes)

    def add(self, codes: Codes) -> None:
        """Remember codes; those it has already change nothing."""
        codes = np.sort(codes)
        known = self._told(codes)
        known[1:] |= codes[1:] == codes[:-1]
        self._recent = np.sort(np.concatenate([self._recent, codes[~known]]))
        if len(self._recent) > _MOST_RECENT:
            self._old = np.sort(np.concatenate([self._old, self._recent]))
            self._recent = self._recent[:0]

    def _told(self, codes: Codes) -> Bool[np.ndarray, " n"]:
        return _in_order(self._old, codes) | _in_order(self._recent, codes)

    def dump(self) -> str:
        """The codes as text."""
        codes = np.sort(np.concatenate([self._old, self._recent]))
        return base64.b64encode(codes.astype("<u8").tobytes()).decode()

    def load(self, text: str) -> None:
        """Replace the codes by those of `dump`."""
        self._old = np.frombuffer(base64.b64decode(text), "<u8").astype(np.uint64)
        self._recent = self._old[:0]


def _in_order(known: UInt64[np.ndarray, " k"], codes: Codes) -> Bool[np.ndarray, " n"]:
    """Which codes are in a sorted array."""
    if not len(known):
        return np.zeros(len(codes), bool)
    return known[np.minimum(np.searchsorted(known, codes), len(known) - 1)] == codes
