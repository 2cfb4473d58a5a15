"""Exact convolution of integer arrays on floating-point BLAS, and the window view behind it."""

import numpy as np

__all__ = ["conv2d", "out_size", "windows"]


def out_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """Output height or width of a convolution or pool."""
    return (size + 2 * padding - kernel) // stride + 1


def windows(x: np.ndarray, kernel: int, stride: int, padding: int, pad_value=0) -> np.ndarray:
    """View of (N,C,H,W) as (N,C,Ho,Wo,k,k) after padding with ``pad_value``."""
    if padding:
        pad = ((0, 0), (0, 0), (padding, padding), (padding, padding))
        x = np.pad(x, pad, constant_values=pad_value)
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    return view[:, :, ::stride, ::stride]


def conv2d(x, weight, stride: int, padding: int, pad_value=0) -> np.ndarray:
    """Cross-correlation of (N,C,H,W) with (O,C,k,k), exact for integers.

    Integer operands run in float32 while every partial sum stays below 2**24, in float64 below
    2**53 (ValueError beyond); the result is int64. Float operands run and return float64.
    """
    n, c, _h, _w = x.shape
    o, _c, k, _k = weight.shape
    integer = x.dtype.kind in "iu" and weight.dtype.kind in "iu"
    dtype = np.float64
    if integer:
        bound = int(np.abs(x).max(initial=0)) * int(
            np.abs(weight.astype(np.int64)).sum(axis=(1, 2, 3)).max(initial=0)
        )
        if bound >= 1 << 53:
            raise ValueError(f"accumulator bound {bound} exceeds exact float64")
        dtype = np.float32 if bound < 1 << 24 else np.float64
    view = windows(x.astype(dtype), kernel=k, stride=stride, padding=padding, pad_value=pad_value)
    ho, wo = view.shape[2:4]
    columns = view.transpose(0, 2, 3, 1, 4, 5).reshape(n * ho * wo, c * k * k)
    result = columns @ weight.reshape(o, c * k * k).astype(dtype).T
    result = result.reshape(n, ho, wo, o).transpose(0, 3, 1, 2)
    return result.astype(np.int64) if integer else np.ascontiguousarray(result)
