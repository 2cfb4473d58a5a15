"""Inference of ReActNet-A and the A&B networks from a state_dict alone, as their papers state it.

Written against the specification and not against models/: weights are ±1 with a separate factor,
beta is gone into the thresholds, schedules are the published tables.
"""

import torch
from torch.nn.functional import avg_pool2d, conv2d, linear, max_pool2d

# Expected variance by block: of each stage of an 18-layer network, and before the 3x3 and the 1x1
# convolution of blocks 1 to 13 of ReActNet-A.
EV18 = [[1, 1, 17 / 16, 18 / 16]] + [[19 / 16, 1, 17 / 16, 18 / 16]] * 3
EV34 = [
    [1, 1, 1.0625, 1.125, 1.1875, 1.25],
    [1.3125, 1, 1.0625, 1.125, 1.1875, 1.25, 1.3125, 1.375],
    [1.4375, 1, 1.0625, 1.125, 1.1875, 1.25, 1.3125, 1.375, 1.4375, 1.5, 1.5625, 1.625],
    [1.6875, 1, 1.0625, 1.125, 1.1875, 1.25],
]
EVA = [(1, 1.0625), (1.125, 1.1875), (1, 1.0625), (1.125, 1.1875), (1, 1.0625), (1.125, 1.1875),
       (1, 1.0625), (1.125, 1.1875), (1.25, 1.3125), (1.375, 1.4375), (1.5, 1.5625),
       (1.625, 1.6875), (1, 1.0625)]
HALVE_A = (2, 4, 6, 12)  # blocks of stride 2


def column(v):
    return v.reshape(1, -1, 1, 1)


def standard(w):
    n = w[0].numel()
    mean = torch.stack([f.mean() for f in w]).reshape(-1, 1, 1, 1)
    variance = torch.stack([((f - f.mean()) ** 2).sum() / n for f in w]).reshape(-1, 1, 1, 1)
    return (w - mean) / (variance.sqrt() + 1e-5) / n**0.5


def real(s, key, x, stride=1, padding=0):
    w = s[f"{key}.gain"] * standard(s[f"{key}.weight"])
    return conv2d(x, w, stride=stride, padding=padding)


def binary(s, key, x, stride, padding):
    w = s[f"{key}.weight"]
    bits = torch.stack([torch.where(f > f.mean(), 1.0, -1.0) for f in w]).double()
    m = torch.stack([f.abs().mean() for f in standard(w)])
    p = conv2d(x, bits, stride=stride, padding=padding)
    return column(m * s[f"{key}.gain"].reshape(-1)) * p


def fired(x, threshold):
    return torch.where(x > threshold, 1.0, torch.where(x < threshold, -1.0, 0.0)).double()


def leaky(x, slope):
    return torch.where(x > 0, x, column(slope) * x)


def qprelu(s, before, prelu, after, x):
    exponent = [round(float(v)) for v in s[f"{prelu}.L_alpha"]]  # Python rounds half to even
    x = leaky(x + s[f"{before}.bias"], torch.tensor([2.0**e for e in exponent]).double())
    return x + s[f"{after}.bias"]


def ab_residual(s, kind, x, evs=EV18):
    imagenet = s["conv1.weight"].shape[2] == 7
    x = real(s, "conv1", x, 2, 3) if imagenet else real(s, "conv1", x, 1, 1)
    if kind != "reactnet":
        x = leaky(x, s["prelu1.weight"])
    if imagenet:
        x = max_pool2d(x, 3, 2, 1)
    for i, stage in enumerate(evs):
        for b, ev in enumerate(stage):
            m = f"layer{i + 1}.{b}"
            halve = i > 0 and b == 0
            move = s[f"{m}.move0.bias"] * ev**0.5 if kind == "reactnet" else 0 * x[:1, :, :1, :1]
            z = binary(s, f"{m}.conv1", fired(x, -move), 2 if halve else 1, 1) / 4
            if halve and kind == "reactnet":
                x = binary(s, f"{m}.downsample.1", avg_pool2d(x, 2), 1, 0)
            elif halve and kind == "biresnet":
                x = real(s, f"{m}.downsample.1", avg_pool2d(x, 2))
            elif halve:
                x = binary(s, f"{m}.downsample.0", x[:, :, ::2, ::2], 1, 0)
            x = z + x
            if kind == "reactnet":
                x = qprelu(s, f"{m}.move1", f"{m}.prelu", f"{m}.move2", x)
    if kind != "reactnet":
        x = leaky(x, s["prelu2.weight"])
    return linear(x.flatten(2).mean(2), s["fc.weight"], s["fc.bias"])


def ab_reactnet_a(s, stem_stride, x):
    x = real(s, "feature.0.conv1", x, stem_stride, 1)
    for i, (ev1, ev2) in enumerate(EVA, 1):
        m = f"feature.{i}"
        stride = 2 if i in HALVE_A else 1
        bits = fired(x, -s[f"{m}.move11.bias"] * ev1**0.5)
        x = binary(s, f"{m}.binary_3x3", bits, stride, 1) / 4 + (
            avg_pool2d(x, 2) if stride == 2 else x)
        x = qprelu(s, f"{m}.move12", f"{m}.prelu1", f"{m}.move13", x)
        bits = fired(x, -s[f"{m}.move21.bias"] * ev2**0.5)
        if f"{m}.binary_pw.weight" in s:
            x = binary(s, f"{m}.binary_pw", bits, 1, 0) / 4 + x
        else:
            x = torch.cat([binary(s, f"{m}.binary_pw_down{j}", bits, 1, 0) / 4 + x
                           for j in (1, 2)], 1)
        x = qprelu(s, f"{m}.move22", f"{m}.prelu2", f"{m}.move23", x)
    return linear(x.flatten(2).mean(2), s["fc.weight"], s["fc.bias"])


def norm(s, key, x, eps=1e-5):
    scale = s[f"{key}.weight"] / (s[f"{key}.running_var"] + eps).sqrt()
    return column(scale) * (x - column(s[f"{key}.running_mean"])) + column(s[f"{key}.bias"])


def flat_binary(s, key, x, k, stride=1):
    flat, c = s[f"{key}.weights"].reshape(-1), x.shape[1]
    w = flat.reshape(-1, c, k, k)
    alpha = torch.stack([f.abs().sum() / f.numel() for f in w])
    p = conv2d(x, torch.where(w > 0, 1.0, -1.0).double(), stride=stride, padding=k // 2)
    return column(alpha) * p


def rprelu(s, before, prelu, after, x):
    return leaky(x + s[f"{before}.bias"], s[f"{prelu}.weight"]) + s[f"{after}.bias"]


def reactnet_a(s, stem_stride, x):
    x = norm(s, "feature.0.bn1", conv2d(x, s["feature.0.conv1.weight"], stride=stem_stride,
                                        padding=1))
    for i in range(1, 14):
        m = f"feature.{i}"
        stride = 2 if i in HALVE_A else 1
        bits = fired(x, -s[f"{m}.move11.bias"])
        u = norm(s, f"{m}.bn1", flat_binary(s, f"{m}.binary_3x3", bits, 3, stride))
        x = rprelu(s, f"{m}.move12", f"{m}.prelu1", f"{m}.move13",
                   u + (avg_pool2d(x, 2) if stride == 2 else x))
        bits = fired(x, -s[f"{m}.move21.bias"])
        if f"{m}.binary_pw.weights" in s:
            x = norm(s, f"{m}.bn2", flat_binary(s, f"{m}.binary_pw", bits, 1)) + x
        else:
            x = torch.cat([norm(s, f"{m}.bn2_{j}", flat_binary(s, f"{m}.binary_pw_down{j}", bits,
                                                              1)) + x for j in (1, 2)], 1)
        x = rprelu(s, f"{m}.move22", f"{m}.prelu2", f"{m}.move23", x)
    return linear(x.flatten(2).mean(2), s["fc.weight"], s["fc.bias"])
