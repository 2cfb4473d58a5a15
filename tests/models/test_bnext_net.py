"""BNext in PyTorch: the authors' semantics, written again from the specification."""

import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d

from models.bnext.layers import HardBinaryConv, Unit
from models.bnext.net import CHANNELS, R18, WIDTHS, Geometry, Geometry18, build
from models.bnext.quant import QuantConv2d, QuantLinear, min_max

SMALL = tuple(c // 4 for c in (32, 64, 128, 128, 256, 256, 256))  # products in blocks 2, 4, 6


def column(v):
    return v.reshape(1, -1, 1, 1)


def norm(s, key, x):
    scale = s[f"{key}.weight"] / (s[f"{key}.running_var"] + 1e-5).sqrt()
    return column(scale) * (x - column(s[f"{key}.running_mean"])) + column(s[f"{key}.bias"])


def leaky(s, key, x):
    return torch.where(x > 0, x, column(s[f"{key}.weight"]) * x)


def levels(v, bits, clip):
    """One vector on the 2^bits levels of its own range."""
    v = torch.where(v > clip, clip, torch.where(v < -clip, -clip, v))
    step = (v.max() - v.min() + 1e-8) / (2**bits - 1)
    return ((v - v.min()) / step).round() * step + v.min()


def each(rows, bits, clip=1000.0):
    return torch.stack([levels(row, bits, clip) for row in rows])


def dense(s, key, x, bits):
    """Rows of x through a layer; bits (weights, inputs) where quantised."""
    w = s[f"{key}.weight"].flatten(1)
    if bits is not None:
        clip = 25.0 if key == "fc" else 1000.0
        size = 2 * w.abs().mean(1, keepdim=True)
        w = each(w / size, bits[0], clip) * size
        x = x if bits[1] == 32 else each(x, bits[1], clip)
    return x @ w.T + s[f"{key}.bias"]


def first(s, key, x, stride, quant):
    w = s[f"{key}.weight"]
    if quant:
        size = 2 * w.flatten(1).abs().mean(1).reshape(-1, 1, 1, 1)
        w = each((w / size).reshape(-1, w.shape[2] ** 2), 8).reshape(w.shape) * size
    return conv2d(x, w, stride=stride, padding=w.shape[2] // 2)


def unit(s, m, x, stride, product, clamp, mixes_r, bits):
    """One submodule; the mixed tensor is never made, its mean is enough."""
    v = x + s[f"{m}.move.bias"]
    w = s[f"{m}.binary_conv.weight"]
    p = conv2d((v > 0).double() - (v < 0).double(), torch.where(w > 0, 1.0, -1.0).double(),
               stride=stride, padding=w.shape[2] // 2)
    y = leaky(s, f"{m}.activation2", norm(s, f"{m}.norm1", p))
    r = leaky(s, f"{m}.activation1", x) if product else x
    if f"{m}.downsample.1.weight" in s:
        r = avg_pool2d(r, 2)
        one = s[f"{m}.downsample.1.weight"]
        if bits is not None:
            n, c, h, w_ = r.shape
            r = each(r.reshape(n * c, -1), 8).reshape(n, c, h, w_)
            size = 2 * one.flatten(1).abs().mean(1, keepdim=True)
            one = (each(one.flatten(1) / size, 8) * size)[:, :, None, None]
        r = conv2d(r, one)
        if bits is not None:
            r = r + column(s[f"{m}.downsample.1.bias"])
        r = norm(s, f"{m}.downsample.2", r)
    elif stride == 2:
        r = avg_pool2d(r, 2)
    k = s[f"{m}.scale"].reshape(-1)
    if clamp:
        k = k.clamp(0, 1)
    mean = k * (r if mixes_r else x).flatten(2).mean(2) + (1 - k) * y.flatten(2).mean(2)
    hidden = dense(s, f"{m}.se.se.1", mean, bits).clamp(min=0)
    gain = 1 / (1 + (-dense(s, f"{m}.se.se.3", hidden, bits)).exp())
    y = gain[:, :, None, None] * y
    return norm(s, f"{m}.norm2", y * r if product else y) + r


def mobile(s, x, stride, bits=None):
    pair = None if bits is None else (bits, bits)
    x = norm(s, "feature.0.bn1", first(s, "feature.0.conv1", x, stride, bits is not None))
    i = 1
    while f"feature.{i}.Attention.scale" in s:
        m = f"feature.{i}"
        doubles = f"{m}.FFN_1.scale" in s
        x = unit(s, f"{m}.Attention", x, 2 if doubles and i > 1 else 1, i % 2 == 0, False, False,
                 pair)
        parts = ("FFN_1", "FFN_2") if doubles else ("FFN",)
        x = torch.cat([unit(s, f"{m}.{part}", x, 1, False, bits is None, False, pair)
                       for part in parts], 1)
        i += 1
    return head(s, x, bits)


def eighteen(s, x, bits=None):
    imagenet = s["conv1.weight"].shape[2] == 7
    pair = None if bits is None else (bits, 2 * bits)
    x = first(s, "conv1", x, 2 if imagenet else 1, bits is not None and imagenet)
    x = norm(s, "bn1", x)
    if imagenet:
        x = max_pool2d(x, 3, 2, 1)
    stage = 0
    while f"layer{stage}.0.FFN.scale" in s:
        b = 0
        while f"layer{stage}.{b}.FFN.scale" in s:
            m = f"layer{stage}.{b}"
            x = unit(s, f"{m}.Attention", x, 2 if stage and not b else 1, True, False, True, pair)
            x = unit(s, f"{m}.FFN", x, 1, False, True, True, pair)
            b += 1
        stage += 1
    return head(s, x, bits)


def head(s, x, bits):
    x = leaky(s, "prelu", x).flatten(2).mean(2)
    return dense(s, "fc", x, None if bits is None else (8, 8))


def randomised(net, seed):
    """Every parameter random, some scales outside 0..1, cooled down; BN knows its inputs."""
    g = torch.Generator().manual_seed(seed)
    net = net.eval().double()
    with torch.no_grad():
        for key, value in net.state_dict().items():
            drawn = torch.randn(value.shape, generator=g)
            if key.endswith("temperature"):
                drawn = torch.full(value.shape, 5e-8)
            elif key.endswith(("clip_val", "num_batches_tracked")):
                continue
            elif key.endswith("running_var"):
                drawn = drawn.abs() + 0.1
            elif key.endswith(".scale"):
                drawn = 0.5 + drawn * 0.4
            elif key.endswith("conv1.weight") or "downsample.1" in key:
                drawn = drawn * 0.3
            elif key == "fc.weight" or ".se." in key:
                drawn = drawn * 0.5
            value.copy_(drawn)

        def calibrate(module, args):
            module.running_mean.copy_(args[0].mean((0, 2, 3)))
            module.running_var.copy_(args[0].var((0, 2, 3)))

        norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        handles = [m.register_forward_pre_hook(calibrate) for m in norms]
        net(images(net.geometry.reduction() * 4, seed + 1))
        for handle in handles:
            handle.remove()
    return net


def images(size, seed=0):
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(seed)).double()


def agree(found, expected):
    assert expected.std() > 0.01 and expected.shape == found.shape
    assert (found - expected).abs().max() < 1e-10 * expected.abs().max()


@pytest.mark.parametrize("bits", [None, 8, 32])
@pytest.mark.parametrize(("stem", "stride"), [("cifar", 1), ("imagenet", 2)])
def test_mobile_networks_are_what_the_specification_says(stem, stride, bits):
    net = randomised(build(Geometry(stem, SMALL, 7, bits)), seed=2)
    scales = torch.cat([v.reshape(-1) for k, v in net.state_dict().items()
                        if k.endswith("FFN.scale")])
    assert (scales < 0).any() and (scales > 1).any()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    x = images(net.geometry.reduction() * 4)
    with torch.no_grad():
        agree(net(x), mobile(before, x, stride, bits))
    after = net.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items())  # evaluation changes nothing


@pytest.mark.parametrize("bits", [None, 8])
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_18_is_what_the_specification_says(stem, bits):
    net = randomised(build(Geometry18(stem, (8, 16, 24), (2, 1, 2), 7, bits)), seed=3)
    x = images(net.geometry.reduction() * 4)
    with torch.no_grad():
        agree(net(x), eighteen(net.state_dict(), x, bits))


def test_the_full_tiny_network():
    net = randomised(build(Geometry("imagenet", tuple(c // 4 for c in CHANNELS["t"]), 10)), seed=4)
    x = images(128)
    with torch.no_grad():
        agree(net(x), mobile(net.state_dict(), x, 2))


@pytest.mark.parametrize(("geometry", "clamped"), [
    (Geometry("cifar", (8, 16, 16), 5), {"FFN"}),
    (Geometry("cifar", (8, 16, 16), 5, 8), set()),
    (Geometry18("cifar", (8,), (1,), 5), {"FFN"}),
    (Geometry18("cifar", (8,), (1,), 5, 8), {"FFN"}),
])
def test_only_some_modules_cut_the_scale(geometry, clamped):
    net = randomised(build(geometry), seed=6)
    units = {k: m for k, m in net.named_modules() if isinstance(m, Unit)}
    assert len(units) >= 2
    with torch.no_grad():
        for key, module in units.items():
            module.se.se[1].bias.fill_(20)  # no hidden channel is off
            x = torch.randn(2, module.move.bias.shape[1], 6, 6).double()
            module.scale.fill_(1.5)
            outside = module(x)
            assert (module.scale == 1.5).all()
            module.scale.fill_(1.0)
            cut = key.split(".")[-1].split("_")[0] in clamped
            assert torch.equal(outside, module(x)) == cut, key


@pytest.mark.parametrize("limit", [1e-7, 1e-5])
def test_weights_are_binary_below_a_temperature(limit):
    conv = HardBinaryConv(4, 3, 3, 1, limit).eval()
    with torch.no_grad():
        conv.weight.copy_(torch.linspace(-2, 2, conv.weight.numel()).view_as(conv.weight) * limit)
    impulse = torch.zeros(1, 4, 3, 3)
    impulse[0, 0, 1, 1] = 1
    with torch.no_grad():
        conv.temperature.fill_(limit * 0.99)
        cold = conv(impulse)
        conv.temperature.fill_(limit)
        warm = conv(impulse)
    assert conv.is_binary() is False and set(cold.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(warm.flip(2, 3)[0], (conv.weight / limit).clamp(-1, 1)[:, 0])


def test_bits_are_zero_at_zero():
    net = build(Geometry("cifar", (8, 8), 5))
    conv = net.feature[1].Attention.binary_activation
    assert conv(torch.tensor([-0.0, 0.0, -1e-30, 2.0])).tolist() == [0, 0, -1, 1]


def test_quantisers_follow_the_tensor_at_hand():
    clip = torch.tensor([-25, 25])
    x = torch.tensor([[0.0, 1.0, 2.5, 3.5, 255.0], [-30.0, 30.0, 0.0, 0.1, 1.0]])
    y = min_max(x, torch.tensor([-1000.0, 1000.0]), 8, (1,))
    assert torch.allclose(y[0], torch.tensor([0.0, 1.0, 2.0, 4.0, 255.0]))  # halves to even
    y = min_max(x, clip, 8, (1,))
    assert y[0].max() == 25 and torch.allclose(y[1, :2], torch.tensor([-25.0, 25.0]))
    assert torch.allclose(y[1, 2], torch.tensor(25.0) / 255, atol=1e-5)  # no level at 0
    same = torch.full((1, 5), 0.75)
    assert torch.equal(min_max(same, clip, 8, (1,)), same)


def test_granularity_of_the_ranges():
    torch.manual_seed(0)
    kernels = QuantConv2d(3, 4, 3, bias=False, activation_bits=None, clip=1000)
    rows, fc = QuantConv2d(64, 4, 1, bias=True), QuantLinear(64, 4)
    for layer, per in ((kernels, (2, 3)), (rows, (1, 2, 3)), (fc, (1,))):
        w, q = layer.weight, layer.quantised_weight()
        assert torch.allclose(q.amax(per), w.amax(per)) and torch.allclose(q.amin(per), w.amin(per))
        step = (w.amax(per) - w.amin(per)) / 255
        assert (q - w).abs().amax(per).le(step * 0.501).all()
    assert kernels.weight_clip_val.dtype == torch.int64
    assert rows.weight_clip_val.dtype == torch.float32
    wide = torch.randn(2, 64, 4, 4)
    wide[0, 0] *= 1000  # another channel, another image: no influence
    kept = rows(wide)[:, :, 0, 0] - rows(wide * torch.tensor([1, 0.5]).view(2, 1, 1, 1))[:, :, 0, 0]
    assert kept[0].abs().max() == 0 and kept[1].abs().max() > 0.01


SIZES = {  # binary weights, other parameters, binary MAC, real MAC (first, 1x1 shortcut, SE, FC)
    "18": (10_985_472, 1_079_176, 1_676_279_808, (118_013_952, 19_267_584, 348_160, 512_000)),
    "t": (28_253_184, 2_609_052, 4_816_896_000, (10_838_016, 0, 1_482_496, 1_024_000)),
    "s": (63_569_664, 5_024_950, 10_838_016_000, (16_257_024, 0, 3_335_616, 1_536_000)),
    "m": (126_238_464, 8_263_510, 20_086_456_320, (16_257_024, 0, 6_469_056, 1_536_000)),
    "l": (308_310_016, 18_236_624, 52_150_927_360, (21_676_032, 0, 15_694_848, 2_048_000)),
}
PRODUCTS = {"18": 752_640, "t": 577_024, "s": 865_536, "m": 1_994_496, "l": 3_462_144}


@pytest.mark.parametrize("name", SIZES)
def test_published_sizes(name):
    with torch.device("meta"):
        net = build(Geometry18("imagenet", WIDTHS, R18, 1000) if name == "18" else
                    Geometry("imagenet", CHANNELS[name], 1000)).eval()
    macs = dict.fromkeys(("bits", "first", "short", "se", "fc"), 0)
    products = 0

    def count(key):
        kind = "bits" if key.endswith("binary_conv") else next(
            k for k, part in (("se", ".se."), ("short", "downsample"), ("first", "conv1"),
                              ("fc", "fc")) if part in key)

        def hook(module, _args, out):
            macs[kind] += module.weight.numel() * out[0, 0].numel()

        return hook

    def product(module, _args, out):
        nonlocal products
        products += out[0].numel() * module.product

    for key, module in net.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear | HardBinaryConv):
            module.register_forward_hook(count(key))
        if hasattr(module, "product"):
            module.register_forward_hook(product)
    with torch.no_grad():
        assert net(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 1000)
    bits = sum(p.numel() for k, p in net.named_parameters() if "binary_conv" in k)
    others = sum(p.numel() for p in net.parameters()) - bits
    found = (bits, others, macs.pop("bits"), tuple(macs.values()))
    assert found == SIZES[name] and products == PRODUCTS[name]
