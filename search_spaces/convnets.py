"""What several convolutional spaces draw with: the rounding of channels, the inverted residual."""

from search_spaces.ir.builder import Builder, Tensor


def divisible(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, never more than 10 % below (MobileNet's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def inverted_residual(
    b: Builder,
    x: Tensor,
    expanded: int | None,
    kernel: int,
    stride: int,
    features: int,
    activation: str,
    squeeze_excite: bool = False,
    residual: bool = True,
) -> Tensor:
    """Expand, depthwise, squeeze-excite, project; the `residual` only where the shape stays.

    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, §3.3, with
    the squeeze-and-excitation of MobileNetV3. Without `expanded` channels there is no expansion;
    whether there is one must not depend on a knob, or sub-networks would share no weights.
    """
    y = x
    if expanded is not None:
        y = b.batch_norm("expand_bn", b.pointwise("expand", y, expanded))
        y = b.activation("expand_act", y, activation)
    y = b.batch_norm("depthwise_bn", b.depthwise("depthwise", y, kernel, stride))
    y = b.activation("depthwise_act", y, activation)
    if squeeze_excite:
        y = b.squeeze_excite(y, divisible(b.channels(y) // 4))
    y = b.batch_norm("project_bn", b.pointwise("project", y, features))
    return b.add("add", x, y) if residual and b.shape(x) == b.shape(y) else y
