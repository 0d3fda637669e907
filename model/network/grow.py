"""Grows a trained RDN into a larger one that computes the same, to be trained on.

Training a large network from the weights of a small one saves the steps that the small one has
already learnt; so does training another scale from its body.
"""

import numpy as np

from model.network.rdn import RDN

_LAST = "upnet_subpixel"


def grow(small: RDN, large: RDN) -> None:
    """Gives `large` weights with which its results equal those of `small`.

    What is new starts without influence on what was there: new maps keep their random weights
    on the way in and zeros on the way out, new convolutions and blocks are fused with zeros.

    A network of another scale takes over all but the last convolution, whose maps are the pixels
    of that scale: it starts as bicubic.

    Args:
        small: a trained network.
        large: C, D, G and G0 at least those of `small`; it may know the quality of its input
            where `small` does not. Its random weights are used.

    Raises:
        ValueError: if `large` is smaller in some respect.

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
    for layer in small.layers:
        if layer.get_weights() and (layer.name != _LAST or large.scale == small.scale):
            _grow_layer(small, large, layer.name)
    for d in range(small.num_blocks + 1, large.num_blocks + 1):  # identities at first
        fusion = large.get_layer(f"rdb{d}_lff")
        fusion.set_weights([np.zeros_like(weights) for weights in fusion.get_weights()])


def _grow_layer(small: RDN, large: RDN, name: str) -> None:
    """Writes one convolution's old weights to their places among the new ones."""
    old_kernel, old_bias = small.get_layer(name).get_weights()
    kernel, bias = large.get_layer(name).get_weights()
    width = len(old_bias)
    # The maps that were there see what they saw, and nothing of what is new.
    kernel[..., :width] = 0
    kernel[:, :, _inputs(small, large, name), :width] = old_kernel
    bias[:width] = old_bias
    large.get_layer(name).set_weights([kernel, bias])


def _inputs(small: RDN, large: RDN, name: str) -> np.ndarray:
    """Where the inputs of a convolution of `small` lie among those of `large`."""
    count = small.get_layer(name).get_weights()[0].shape[2]
    old, new = [small.features], [large.features]
    if name == "sfe1":  # the image and its planes
        return np.arange(count)
    if name == "gff_1x1":  # the blocks' results, one behind the other
        old, new = old * small.num_blocks, new * large.num_blocks
    elif name.startswith("rdb"):  # the block's input, then what its convolutions grew
        old += [small.growth_rate] * small.convs_per_block
        new += [large.growth_rate] * small.convs_per_block
    starts = np.cumsum([0, *new])[: len(old)]
    at = [start + np.arange(width) for start, width in zip(starts, old, strict=True)]
    return np.concatenate(at)[:count]
