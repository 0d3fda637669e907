"""Grows a trained RDN into a larger one that computes the same, to be trained on.

Training a large network from the weights of a small one saves the steps that the small one has
already learnt.
"""

import numpy as np

from model.rdn import RDN


def grow(small: RDN, large: RDN) -> None:
    """Gives `large` weights with which its results equal those of `small`.

    What is new starts without influence on what was there: new maps keep their random weights
    on the way in and zeros on the way out, new convolutions and blocks are fused with zeros.

    Args:
        small: a trained network.
        large: C, D, G and G0 at least those of `small`, the same scale; it may know the
            quality of its input where `small` does not. Its random weights are used.

    Raises:
        ValueError: if `large` is smaller in some respect, or another scale.

    Source:
        Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016: the same
        idea; new maps here begin with zeros on the way out instead of copies.
    """
    for name in ("convs_per_block", "num_blocks", "growth_rate", "features", "knows_quality"):
        if getattr(large, name) < getattr(small, name):
            raise ValueError(
                f"a network grows to at least its own size. Received: {name} "
                f"{getattr(small, name)} to {getattr(large, name)}"
            )
    if large.scale != small.scale:
        raise ValueError(f"the scale must stay. Received: {small.scale} to {large.scale}")
    for layer in small.layers:
        if layer.get_weights():
            _grow_layer(small, large, layer.name)
    _silence_new_blocks(small, large)


def _grow_layer(small: RDN, large: RDN, name: str) -> None:
    """Writes one convolution's old weights to their places among the new ones."""
    old_kernel, old_bias = small.get_layer(name).get_weights()
    kernel, bias = large.get_layer(name).get_weights()
    inputs = _old_inputs(small, large, name)
    # The maps that were there see what they saw, and nothing of what is new.
    kernel[..., : old_kernel.shape[3]] = 0
    kernel[:, :, inputs, : old_kernel.shape[3]] = old_kernel
    bias[: old_bias.shape[0]] = old_bias
    large.get_layer(name).set_weights([kernel, bias])


def _old_inputs(small: RDN, large: RDN, name: str) -> np.ndarray:
    """Where the inputs of a convolution of `small` lie among those of `large`."""
    if name == "gff_1x1":  # the blocks' results, one behind the other
        return _places([small.features] * small.num_blocks, [large.features] * large.num_blocks)
    if name.startswith("rdb"):  # the block's input, then what its convolutions grew
        grown = small.convs_per_block
        return _places(
            [small.features, *[small.growth_rate] * grown],
            [large.features, *[large.growth_rate] * grown],
        )[: small.get_layer(name).get_weights()[0].shape[2]]
    return np.arange(small.get_layer(name).get_weights()[0].shape[2])


def _places(old_widths: list[int], new_widths: list[int]) -> np.ndarray:
    """Indices of the first `old` maps of each part within a concatenation of wider parts."""
    starts = np.cumsum([0, *new_widths])
    return np.concatenate(
        [start + np.arange(width) for start, width in zip(starts, old_widths, strict=False)]
    )


def _silence_new_blocks(small: RDN, large: RDN) -> None:
    """Makes each added block an identity."""
    for d in range(small.num_blocks + 1, large.num_blocks + 1):
        layer = large.get_layer(f"rdb{d}_lff")
        layer.set_weights([np.zeros_like(weights) for weights in layer.get_weights()])
