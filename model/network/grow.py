"""Net2Net growth: copies a trained RDN into a larger one that computes the same function.

Training the large network from there saves the steps that the small one has already taken; so does
training another scale from its body.
"""

import numpy as np

from model.network.rdn import RDN

_LAST = "upnet_subpixel"


def grow(small: RDN, large: RDN) -> None:
    """Sets the weights of `large` so that its results equal those of `small`.

    New weights start without influence on the old ones: new feature maps keep their random weights
    at their inputs and get zeros at their outputs; new convolutions and blocks are fused with
    zeros.

    A network of another scale gets the body as it is. The maps of the last convolution are the
    phases of the residual, pixels between those of LR: each new phase starts as the linear
    interpolation of the old ones at its position, so that the network starts far above bicubic.

    Args:
        small: a trained network.
        large: a network with random weights, which is changed in place. Its C, D, G and G0 are at
            least those of `small`; it may be conditioned on more than `small`.

    Raises:
        ValueError: if `large` is smaller in some parameter, or conditioned on less.

    Example:
        >>> size = {"convs_per_block": 1, "num_blocks": 1, "features": 4}
        >>> grow(RDN(growth_rate=4, **size), RDN(growth_rate=8, **size))

    Source:
        Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016: the same
        idea; here new maps start with zeros at their outputs instead of copies. The start of
        another scale is our own.
    """
    for name in ("convs_per_block", "num_blocks", "growth_rate", "features"):
        if getattr(large, name) < getattr(small, name):
            raise ValueError(
                f"a network grows to at least its own size. Received: {name} "
                f"{getattr(small, name)} to {getattr(large, name)}"
            )
    for name in ("knows_quality", "knows_sharpening"):
        if getattr(small, name) and not getattr(large, name):
            raise ValueError(
                f"a network that is conditioned keeps its input planes: the initial weights have "
                f"{name}, which the new network needs, too (model.train: --{name} 1)"
            )
    for layer in small.layers:
        if layer.get_weights():
            _grow_layer(small, large, layer.name)
    for d in range(small.num_blocks + 1, large.num_blocks + 1):  # identities at first
        fusion = large.get_layer(f"rdb{d}_lff")
        fusion.set_weights([np.zeros_like(weights) for weights in fusion.get_weights()])


def _grow_layer(small: RDN, large: RDN, name: str) -> None:
    """Copies one convolution's weights into the corresponding slice of the larger convolution."""
    old_kernel, old_bias = small.get_layer(name).get_weights()
    if name == _LAST:
        old_kernel, old_bias = (
            _at_scale(maps, small.scale, large.scale) for maps in (old_kernel, old_bias)
        )
    kernel, bias = large.get_layer(name).get_weights()
    width = len(old_bias)
    # Old feature maps get no input from new ones.
    kernel[..., :width] = 0
    kernel[:, :, _inputs(small, large, name), :width] = old_kernel
    bias[:width] = old_bias
    large.get_layer(name).set_weights([kernel, bias])


def _inputs(small: RDN, large: RDN, name: str) -> np.ndarray:
    """Indices of a convolution's input channels among those of the larger convolution."""
    count = small.get_layer(name).get_weights()[0].shape[2]
    old, new = [small.features], [large.features]
    if name == "sfe1":  # RGB, then the conditions
        used, wanted = (np.flatnonzero([True, True, True, *rdn.planes]) for rdn in (large, small))
        return np.searchsorted(used, wanted)
    if name == "gff_1x1":  # the blocks' outputs, concatenated
        old, new = old * small.num_blocks, new * large.num_blocks
    elif name.startswith("rdb"):  # the block's input, then the outputs of its convolutions
        old += [small.growth_rate] * small.convs_per_block
        new += [large.growth_rate] * small.convs_per_block
    starts = np.cumsum([0, *new])[: len(old)]
    indices = [start + np.arange(width) for start, width in zip(starts, old, strict=True)]
    return np.concatenate(indices)[:count]


def _at_scale(maps: np.ndarray, old: int, new: int) -> np.ndarray:
    """Phases [..., old**2 * 3] of the residual at another scale, [..., new**2 * 3]."""
    # Where the pixels of a scale lie within one of LR.
    at_old, at_new = ((np.arange(scale) + 0.5) / scale for scale in (old, new))
    weights = np.stack([np.interp(at_new, at_old, one) for one in np.eye(old)], axis=-1)
    phases = maps.reshape(*maps.shape[:-1], old, old, 3)
    # Rows y and columns x of the new phases from rows i and columns j of the old ones.
    finer = np.einsum("yi,xj,...ijc->...yxc", weights, weights, phases)
    return finer.reshape(*maps.shape[:-1], new**2 * 3)
