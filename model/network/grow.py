"""Net2Net growth: copies a trained RDN into a larger one that computes the same function.

Training the large network from there saves the steps that the small one has already taken.
"""

import numpy as np

from model.network import dihedral
from model.network.rdn import RDN

# Dihedral transforms of a network in the order in which copies take them: quarter turns, flip. The
# mean of the first k of `rdn-small` gives 37.60, 37.68, 37.71 dB on Set5 and 33.20, 33.25,
# 33.27 on Set14.
COPY_TRANSFORMS = (
    *((0, False), (1, False), (2, True), (3, True)),
    *((2, False), (3, False), (0, True), (1, True)),
)


def grow(small: RDN, large: RDN, *, copies: int = 1) -> None:
    """Sets the weights of `large` so that it computes what `small` or a mean of its copies does.

    New weights start without influence on the old ones: new feature maps keep their random weights
    at their inputs and get zeros at their outputs; new convolutions and blocks are fused with
    zeros.

    With several copies the large network starts as a self-ensemble: its feature maps hold flipped
    and rotated versions of the small network side by side, without connections between them, and
    its output is their mean. A network with flipped and rotated kernels computes the flipped and
    rotated function. Training then adds connections between the copies. Papers call the mean of
    all eight "RDN+".

    Args:
        small: a trained network.
        large: a network with random weights, which is changed in place. Its C, D, G and G0 are at
            least those of `small`, its scale is the same, and it may be conditioned on the JPEG
            quality where `small` is not.
        copies: 1..8; G and G0 of `large` are at least `copies` times those of `small`.

    Raises:
        ValueError: if `large` is smaller in some parameter, has another scale, or has no room for
            the copies.

    Example:
        >>> size = {"convs_per_block": 1, "num_blocks": 1, "features": 4}
        >>> grow(RDN(growth_rate=4, **size), RDN(growth_rate=8, **size))

    Source:
        Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016: the same
        idea; here new maps start with zeros at their outputs instead of copies. Timofte et al.,
        "Seven ways to improve example-based single image super resolution", CVPR 2016
        (the mean over flipped and rotated versions).
    """
    if not 1 <= copies <= len(COPY_TRANSFORMS):
        raise ValueError(f"copies must be 1..{len(COPY_TRANSFORMS)}. Received: {copies}")
    for name in ("convs_per_block", "num_blocks", "growth_rate", "features", "knows_quality"):
        minimum = getattr(small, name) * (copies if name in ("growth_rate", "features") else 1)
        if getattr(large, name) < minimum:
            raise ValueError(
                f"for copies={copies} the large network needs {name} >= {minimum}. "
                f"Received: {getattr(large, name)}"
            )
    if large.scale != small.scale:
        raise ValueError(
            f"both networks need the same scale. Received: {small.scale} and {large.scale}"
        )
    for layer in small.layers:
        if layer.get_weights():
            _grow_layer(small, large, layer.name, copies)
    _silence_new_blocks(small, large)


def _grow_layer(small: RDN, large: RDN, name: str, copies: int) -> None:
    """Copies one convolution's weights into the corresponding slice of the larger convolution."""
    old_kernel, old_bias = small.get_layer(name).get_weights()
    kernel, bias = large.get_layer(name).get_weights()
    width = len(old_bias)
    is_last = name == "upnet_subpixel"  # all copies add to the same output
    # Old feature maps get no input from new ones.
    taken = width if is_last else width * copies
    kernel[..., :taken] = 0
    bias[:taken] = 0
    for copy, transform in enumerate(COPY_TRANSFORMS[:copies]):
        copy_kernel = dihedral.invert(old_kernel[None], *transform)[0]
        copy_bias = old_bias
        if is_last:  # its maps are the phases of s x s output pixels, which are transformed too
            s = small.scale
            phases = copy_kernel.reshape(-1, s, s, 3)
            copy_kernel = dihedral.invert(phases, *transform).reshape(copy_kernel.shape) / copies
            phases = old_bias.reshape(1, s, s, 3)
            copy_bias = dihedral.invert(phases, *transform).ravel() / copies
        outputs = slice(0, width) if is_last else slice(copy * width, (copy + 1) * width)
        kernel[:, :, _inputs(small, large, name, copy), outputs] += copy_kernel
        bias[outputs] += copy_bias
    large.get_layer(name).set_weights([kernel, bias])


def _inputs(small: RDN, large: RDN, name: str, copy: int) -> np.ndarray:
    """Indices of a copy's input channels among the input channels of the larger convolution."""
    count = small.get_layer(name).get_weights()[0].shape[2]
    old, new = [small.features], [large.features]
    if name == "sfe1":  # the image is the input of all copies
        return np.arange(count)
    if name == "gff_1x1":  # the blocks' outputs, concatenated
        old, new = old * small.num_blocks, new * large.num_blocks
    elif name.startswith("rdb"):  # the block's input, then the outputs of its convolutions
        old += [small.growth_rate] * small.convs_per_block
        new += [large.growth_rate] * small.convs_per_block
    starts = np.cumsum([0, *new])[: len(old)]
    indices = [
        start + copy * width + np.arange(width) for start, width in zip(starts, old, strict=True)
    ]
    return np.concatenate(indices)[:count]


def _silence_new_blocks(small: RDN, large: RDN) -> None:
    """Turns each added block into an identity by zeros in its local feature fusion."""
    for d in range(small.num_blocks + 1, large.num_blocks + 1):
        layer = large.get_layer(f"rdb{d}_lff")
        layer.set_weights([np.zeros_like(weights) for weights in layer.get_weights()])
