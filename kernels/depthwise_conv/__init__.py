"""Depthwise convolution: `api.depthwise_conv` picks the fastest form that this machine can run."""
