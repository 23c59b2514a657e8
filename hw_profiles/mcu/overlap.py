"""How far a kernel's output may lie over its input: by what it writes behind what it reads."""

from hw_profiles.mcu.layers import IN_PLACE, AveragePool, Conv, Layer, MaxPool, Pointwise


def distance_below(layer: Layer) -> int | None:
    """Bytes by which the output must start below the (first) input to lie over it.

    All kernels, SIMD and portable, go over a map from its first byte to its last. A pixel is
    written when its own inputs were read, and the rows above what its window still needs are free.

    Returns:
        0 where the two may start together; None where they must lie apart.
    """
    if layer.op in IN_PLACE:
        return 0
    if isinstance(layer, Pointwise):
        (positions, c_in), c_out = layer.in_shape, layer.out_shape[1]
        return max(c_out, positions * (c_out - c_in) + c_in)
    if isinstance(layer, Conv | AveragePool | MaxPool):
        window = layer.window
        made = layer.out_shape[1] * layer.out_shape[2]
        read = layer.in_shape[1] * layer.in_shape[2]
        return max(
            (y + 1) * made - max(0, y * window.stride[0] - window.pad[0]) * read
            for y in range(window.out_size[0])
        )
    return None
