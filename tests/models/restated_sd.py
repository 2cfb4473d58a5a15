"""Inference of SD-BNN from a state_dict alone, as the paper and its code state it.

Written against the specification and not against models/: thresholds are compared, weights are
±1, option A builds its zeros by hand, means are sums over the map.
"""

import torch
from torch.nn.functional import conv2d, linear


def column(v):
    return v.reshape(1, -1, 1, 1)


def norm(s, key, x):
    shape = (1, -1) + (1,) * (x.dim() - 2)
    scale = s[f"{key}.weight"] / (s[f"{key}.running_var"] + 1e-5) ** 0.5
    return (x - s[f"{key}.running_mean"].reshape(shape)) * scale.reshape(shape) + s[
        f"{key}.bias"].reshape(shape)


def clamp(x):
    return x.minimum(torch.ones_like(x)).maximum(-torch.ones_like(x))


def largest(x, k, stride, pad):
    n, c, h, w = x.shape
    wide = torch.full((n, c, h + 2 * pad, w + 2 * pad), -1e30, dtype=x.dtype)
    wide[:, :, pad : pad + h, pad : pad + w] = x
    return wide.unfold(2, k, stride).unfold(3, k, stride).amax(dim=(4, 5))


def binary(s, key, a, stride=1, latent="weight", beta="dybeta"):
    mean = a.sum(dim=(2, 3)) / (a.shape[2] * a.shape[3])
    hidden = torch.einsum("nc,hc->nh", mean, s[f"{key}.{beta}.fc.0.weight"])
    hidden = torch.where(hidden > 0, hidden, 0 * hidden)
    z = torch.einsum("nh,ch->nc", hidden, s[f"{key}.{beta}.fc.2.weight"])
    threshold = -(1 / (1 + torch.exp(-z)))[:, :, None, None]
    bits = (a > threshold).double() - (a < threshold).double()
    w = s[f"{key}.{latent}"].reshape(-1, a.shape[1], 3, 3)
    share = 1 / (1 + torch.exp(-s[f"{key}.alpha"]))
    moved = torch.stack([f + p * 0.01 * f.sum() / f.numel() for f, p in zip(w, share, strict=True)])
    return conv2d(bits, torch.where(moved > 0, 1.0, -1.0).double(), stride=stride, padding=1)


def wider(x):
    x = x[:, :, 0::2, 0::2]
    n, c, h, w = x.shape
    made = torch.zeros(n, 2 * c, h, w, dtype=x.dtype)
    made[:, c // 2 : c // 2 + c] = x
    return made


def cifar(s, each, x, blocks):
    x = clamp(norm(s, "bn1", conv2d(x, s["conv1.weight"], padding=1)))
    for i, depth in enumerate(blocks):
        for b in range(depth):
            m = f"layer{i + 1}.{b}"
            stride = 2 if i and not b else 1
            y = norm(s, f"{m}.bn1", binary(s, f"{m}.conv1", x, stride))
            if each:
                x = y = clamp(y + (wider(x) if stride == 2 else x))
            else:
                y = clamp(y)
                if stride == 2:
                    x = norm(s, f"{m}.shortcut.1",
                             conv2d(x[:, :, ::2, ::2], s[f"{m}.shortcut.0.weight"]))
            x = clamp(norm(s, f"{m}.bn2", binary(s, f"{m}.conv2", y)) + x)
    x = norm(s, "bn2", x.sum(dim=(2, 3)) / (x.shape[2] * x.shape[3]))
    return linear(x, s["linear.weight"], s["linear.bias"])


def vgg(s, count, x):
    x = conv2d(x, s["conv0.weight"], padding=1)
    for i in range(count):
        if i:
            x = binary(s, f"conv{i}", x)
        if i in (1, 3, 5):
            x = largest(x, 2, 2, 0)
        x = clamp(norm(s, f"bn{i}", x))
    return linear(x.reshape(len(x), -1), s["fc.weight"], s["fc.bias"])


def imagenet(s, x, blocks):
    x = largest(norm(s, "bn1", conv2d(x, s["conv1.weight"], stride=2, padding=3)), 3, 2, 1)
    for i, depth in enumerate(blocks):
        for b in range(depth):
            m = f"layer{i + 1}.{b}"
            stride = 2 if i and not b else 1
            y = norm(s, f"{m}.bn1", binary(s, f"{m}.binary_conv", x, stride, "weights", "beta"))
            if stride == 2:
                x = (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2]
                     + x[:, :, 1::2, 1::2]) / 4
                x = norm(s, f"{m}.downsample.2", conv2d(x, s[f"{m}.downsample.1.weight"]))
            x = y + x
            x = torch.where(x > 0, x, column(s[f"{m}.prelu.weight"]) * x)
    return linear(x.flatten(2).mean(2), s["fc.weight"], s["fc.bias"])
