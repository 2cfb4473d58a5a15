"""The networks of SD-BNN (Xue et al., 2021) at any width and depth, under the authors' key names.

    net = build(Geometry("resnet20", (16, 32, 64), (3, 3, 3), 10)).eval()

Every binary convolution reads sign(a + beta), where beta is computed from the channel means of a
by a small network of its own (the authors' self-distribution, "dybeta"), at inference too. Sign has
no derivative unless training sets ``sharpness`` (models.sd.train).
"""

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["KINDS", "MEAN_STEP", "BinaryConv", "Geometry", "HeadedNet", "VggSmall", "beta_net",
           "build", "shifted"]

KINDS = ("resnet20", "resnet18", "vgg", "birealnet")
MEAN_STEP = 0.01  # share of a filter's mean that sigmoid(alpha) moves its weights by
REDUCTION = {"resnet20": 16, "resnet18": 16, "vgg": 16, "birealnet": 8}  # of beta's hidden layer


@dataclasses.dataclass(frozen=True)
class Geometry:
    """A network of one of four kinds.

    Parameters
    ----------
    kind : "resnet20" (a shortcut around every binary convolution, option A where channels double),
        "resnet18" (a shortcut around two, with a real 1x1), "vgg" (none), all three for small
        images with hardtanh; "birealnet" (ImageNet: 7x7 stem, PReLU, a shortcut around each).
    widths : channels of each stage; of each convolution of "vgg", the first one included.
    blocks : blocks of each stage, () for "vgg". Every stage but the first halves the map.
    num_classes : outputs of the classifier.
    edge : height and width of the map that "vgg"'s classifier reads; 1 for the others.
    """

    kind: str
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    num_classes: int
    edge: int = 1

    @property
    def stem(self) -> str:
        """"imagenet" (7x7 stride 2, max-pool) or "cifar" (3x3 stride 1)."""
        return "imagenet" if self.kind == "birealnet" else "cifar"

    def reduction(self) -> int:
        """Pixels of the image along one side per pixel of the last map."""
        if self.kind == "vgg":
            return 2 ** (len(self.widths) // 2)
        return 2 ** (len(self.blocks) - 1) * (4 if self.stem == "imagenet" else 1)

    def describe(self) -> dict:
        """For a graph's meta."""
        return {"network": self.kind, "stem": self.stem, "widths": list(self.widths),
                "blocks": list(self.blocks), "classes": self.num_classes}


class _Sign(torch.autograd.Function):
    """sign(x) with the derivative of max(1, 1/t) * tanh(t*x): IR-Net's estimator."""

    @staticmethod
    def forward(ctx, x: Tensor, t: Tensor) -> Tensor:
        ctx.save_for_backward(x, t)
        return torch.sign(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        x, t = ctx.saved_tensors
        slope = (t * x).tanh_().square_().neg_().add_(1).mul_(t.clamp_min(1.0))
        return slope.mul_(grad), None


def shifted(weight: Tensor, alpha: Tensor) -> Tensor:
    """W' = W + sigmoid(alpha[c]) * 0.01 * mean(W[c]), whose signs are the weights; (O, I, k, k).

    The mean passes no gradient, as in the authors' code.
    """
    mean = weight.mean(dim=(1, 2, 3), keepdim=True).detach()
    return weight + torch.sigmoid(alpha).view(-1, 1, 1, 1) * MEAN_STEP * mean


class BetaNet(nn.Module):
    """beta (N, C, 1, 1) in 0..1 of a map (N, C, H, W): two dense layers on its channel means."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(channels, hidden, bias=False), nn.ReLU(),
                                nn.Linear(hidden, channels, bias=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean(dim=(2, 3)))[:, :, None, None]


class BinaryConv(nn.Module):
    """3x3 convolution of sign(a + beta(a)) with the signs of W'; no scale.

    ``flat`` stores the latent weights as one column ``weights`` (ImageNet) and calls the small
    network ``beta``; else they are ``weight`` and ``dybeta``. ``sharpness`` is t (float32, no
    dimensions) of the derivative that training gives to sign; None gives it none. ``compute_dtype``
    narrows the convolution while training, for inputs of ±1 (sums beyond 256 round in bfloat16).
    """

    sharpness: Tensor | None = None
    compute_dtype: torch.dtype | None = None

    def __init__(self, c_in: int, c_out: int, stride: int, reduction: int, flat: bool = False):
        super().__init__()
        self.stride, self.flat = stride, flat
        self.shape = (c_out, c_in, 3, 3)
        latent = torch.randn(self.shape) * 0.05
        if flat:
            self.weights = nn.Parameter(latent.reshape(-1, 1))
        else:
            self.weight = nn.Parameter(latent)
        self.alpha = nn.Parameter(torch.zeros(c_out))
        self.add_module("beta" if flat else "dybeta", BetaNet(c_in, c_in // reduction))

    def latent(self) -> Tensor:
        """W, (O, I, 3, 3)."""
        return self.weights.view(self.shape) if self.flat else self.weight

    def sign(self, x: Tensor) -> Tensor:
        """sign(x), with training's derivative where `sharpness` is set."""
        return torch.sign(x) if self.sharpness is None else _Sign.apply(x, self.sharpness)

    def forward(self, a: Tensor) -> Tensor:
        bits = self.sign(a + beta_net(self)(a))
        weight = self.sign(shifted(self.latent(), self.alpha))
        dtype = self.compute_dtype if self.training and self.compute_dtype else a.dtype
        sums = F.conv2d(bits.to(dtype), weight.to(dtype), stride=self.stride, padding=1)
        return sums.to(a.dtype)


def beta_net(conv: BinaryConv) -> BetaNet:
    """The small network of a convolution, whatever its name."""
    return conv.beta if conv.flat else conv.dybeta


class OptionA(nn.Module):
    """Shortcut without weights: every second pixel, and zero channels before and after."""

    def __init__(self, zeros: int):
        super().__init__()
        self.zeros = zeros

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.zeros, self.zeros))


class CifarBlock(nn.Module):
    """Two binary convolutions with normalisation and hardtanh.

    ``each``: a shortcut around each of them (ResNet-20), else one around both (ResNet-18).
    """

    def __init__(self, c_in: int, c_out: int, halve: bool, each: bool, eps: float):
        super().__init__()
        self.each = each
        self.conv1 = BinaryConv(c_in, c_out, 2 if halve else 1, 16)
        self.bn1 = nn.BatchNorm2d(c_out, eps=eps)
        self.conv2 = BinaryConv(c_out, c_out, 1, 16)
        self.bn2 = nn.BatchNorm2d(c_out, eps=eps)
        self.shortcut = nn.Sequential()
        if halve and each:
            self.shortcut = OptionA(c_out // 4)
        elif halve:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, 2, bias=False),
                                          nn.BatchNorm2d(c_out, eps=eps))

    def forward(self, x: Tensor) -> Tensor:
        y, r = self.bn1(self.conv1(x)), self.shortcut(x)
        if self.each:
            y = r = F.hardtanh(y + r)
        else:
            y = F.hardtanh(y)
        return F.hardtanh(self.bn2(self.conv2(y)) + r)


class ImageNetBlock(nn.Module):
    """PReLU(BN(binary convolution) + shortcut)."""

    def __init__(self, c_in: int, c_out: int, halve: bool, eps: float):
        super().__init__()
        self.binary_conv = BinaryConv(c_in, c_out, 2 if halve else 1, 8, flat=True)
        self.bn1 = nn.BatchNorm2d(c_out, eps=eps)
        self.prelu = nn.PReLU(c_out)
        self.downsample = None
        if halve:
            self.downsample = nn.Sequential(nn.AvgPool2d(2, 2),
                                            nn.Conv2d(c_in, c_out, 1, bias=False),
                                            nn.BatchNorm2d(c_out, eps=eps))

    def forward(self, x: Tensor) -> Tensor:
        r = x if self.downsample is None else self.downsample(x)
        return self.prelu(self.bn1(self.binary_conv(x)) + r)


class HeadedNet(nn.Module):
    """The three residual kinds: images (N, 3, H, W), normalised, to logits (N, num_classes)."""

    def __init__(self, geometry: Geometry, bn_eps: float = 1e-5):
        super().__init__()
        self.geometry = geometry
        imagenet, width = geometry.stem == "imagenet", geometry.widths[0]
        kernel = 7 if imagenet else 3
        self.conv1 = nn.Conv2d(3, width, kernel, 2 if imagenet else 1, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=bn_eps)
        c_in = width
        for i, depth in enumerate(geometry.blocks):
            stage, c_out = nn.Sequential(), geometry.widths[i]
            for b in range(depth):
                halve = i > 0 and b == 0
                stage.append(ImageNetBlock(c_in, c_out, halve, bn_eps) if imagenet else
                             CifarBlock(c_in, c_out, halve, geometry.kind == "resnet20", bn_eps))
                c_in = c_out
            self.add_module(f"layer{i + 1}", stage)
        if imagenet:
            self.fc = nn.Linear(c_in, geometry.num_classes)
        else:  # in the order of the authors' files, which is not the same in both networks
            head = {"bn2": nn.BatchNorm1d(c_in, eps=bn_eps),
                    "linear": nn.Linear(c_in, geometry.num_classes)}
            for name in head if geometry.kind == "resnet20" else reversed(head):
                self.add_module(name, head[name])

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x))
        imagenet = self.geometry.stem == "imagenet"
        x = F.max_pool2d(x, 3, 2, 1) if imagenet else F.hardtanh(x)
        for i in range(len(self.geometry.blocks)):
            x = getattr(self, f"layer{i + 1}")(x)
        x = x.mean(dim=(2, 3))
        return self.fc(x) if imagenet else self.linear(self.bn2(x))


class VggSmall(nn.Module):
    """Convolutions in a row; behind conv1, conv3, ... the integer sums are max-pooled, then BN."""

    def __init__(self, geometry: Geometry, bn_eps: float = 1e-5):
        super().__init__()
        self.geometry = geometry
        widths = geometry.widths
        for i, width in enumerate(widths):
            self.add_module(f"conv{i}", BinaryConv(widths[i - 1], width, 1, 16) if i else
                            nn.Conv2d(3, width, 3, 1, 1, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(width, eps=bn_eps))
        self.fc = nn.Linear(widths[-1] * geometry.edge**2, geometry.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(len(self.geometry.widths)):
            x = getattr(self, f"conv{i}")(x)
            if i % 2:
                x = F.max_pool2d(x, 2)
            x = F.hardtanh(getattr(self, f"bn{i}")(x))
        return self.fc(x.flatten(1))


def build(geometry: Geometry, bn_eps: float = 1e-5) -> HeadedNet | VggSmall:
    """The network of a geometry, untrained."""
    return (VggSmall if geometry.kind == "vgg" else HeadedNet)(geometry, bn_eps)
