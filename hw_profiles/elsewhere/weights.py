"""Random weights that many models share, so that a worklist is no larger than its largest network.

Speed does not depend on the numbers as long as they neither overflow nor become denormal. So each
weight tensor is a stretch of one file of normal numbers of about its own size (a power of two).
Tensors of one model get stretches of their own: a chain must not find its second block's weights
in the cache because the first one read them.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

# Smaller tensors stay in the model: biases, and constants whose values may matter.
_SMALLEST = 256
_ALIGN = 64


@dataclass
class SharedWeights:
    """The files, filled as models are given; floats of `2**k` lie in `weights<k>.bin`."""

    lengths: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def share(self, model: ModelProto) -> None:
        """Let the float32 weights of a model refer to the files instead of holding numbers."""
        ends: dict[int, int] = defaultdict(int)
        for tensor in model.graph.initializer:
            if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _SMALLEST:
                continue
            size = float(numpy_helper.to_array(tensor).std())
            if size == 0:
                continue
            k = round(np.log2(size))
            start = -(-ends[k] // _ALIGN) * _ALIGN
            length = 4 * int(np.prod(tensor.dims))
            ends[k] = start + length
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            places = {"location": f"weights{k}.bin", "offset": start, "length": length}
            for key, value in places.items():
                tensor.external_data.add(key=key, value=str(value))
        for k, end in ends.items():
            self.lengths[k] = max(self.lengths[k], end)

    def files(self, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
        """Name and content of each file; after the last `share`."""
        for k, length in sorted(self.lengths.items()):
            numbers = rng.standard_normal(-(-length // 4), np.float32) * np.float32(2.0**k)
            yield f"weights{k}.bin", numbers.tobytes()
