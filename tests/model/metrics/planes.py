"""Planes for tests of the measures without a reference."""

import numpy as np

from model.metrics import full_reference


def luma_of(rgb):
    return full_reference.luma(rgb, dtype=np.float32)


def noisy_plane(sigma, height=120, width=160, level=120.0, seed=1):
    return level + np.random.default_rng(seed).normal(0, sigma, (height, width))


def repeated(plane, times=2):
    return plane.repeat(times, axis=0).repeat(times, axis=1)
