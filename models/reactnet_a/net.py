"""ReActNet-A (Liu et al., ECCV 2020) of any channels, under the authors' key names."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..mobile import MobileGeometry
from ..snn.binarise import binary_activation
from ..snn.net import LearnableBias

__all__ = ["HardBinaryConv", "MobileBlock", "ReActNetA"]


class HardBinaryConv(nn.Module):
    """k x k convolution with weights alpha[c] * sign(W), alpha[c] = mean |W|.

    Members
    -------
    weights : Parameter (O*I*k*k, 1), latent, in C order of (O, I, k, k).
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1):
        super().__init__()
        self.stride, self.padding = stride, kernel // 2
        self.shape = (c_out, c_in, kernel, kernel)
        self.weights = nn.Parameter(torch.randn(c_out * c_in * kernel**2, 1) * 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        latent = self.weights.view(self.shape)
        alpha = latent.detach().abs().mean(dim=(1, 2, 3), keepdim=True)
        weight = alpha * torch.sign(latent.detach())
        if torch.is_grad_enabled():
            through = latent.clamp(-1, 1)
            weight = weight + (through - through.detach())
        return F.conv2d(x, weight.to(x.dtype), stride=self.stride, padding=self.padding)


class Stem(nn.Module):
    """feature.0: a real 3x3 convolution and its normalisation."""

    def __init__(self, c_out: int, stride: int, eps: float):
        super().__init__()
        self.conv1 = nn.Conv2d(3, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn1(self.conv1(x))


class MobileBlock(nn.Module):
    """A binary 3x3 and then a binary 1x1 convolution, each with BN, shortcut and RPReLU.

    Where channels double, two 1x1 convolutions read the same bits and each half of the result
    adds the same shortcut.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, eps: float):
        super().__init__()
        self.stride, self.doubles = stride, c_in != c_out
        self.move11 = LearnableBias(c_in)
        self.binary_3x3 = HardBinaryConv(c_in, c_in, 3, stride)
        self.bn1 = nn.BatchNorm2d(c_in, eps=eps)
        self.move12 = LearnableBias(c_in)
        self.prelu1 = nn.PReLU(c_in)
        self.move13 = LearnableBias(c_in)
        self.pooling = nn.AvgPool2d(2, 2)
        self.move21 = LearnableBias(c_in)
        if self.doubles:
            self.binary_pw_down1 = HardBinaryConv(c_in, c_in, 1)
            self.binary_pw_down2 = HardBinaryConv(c_in, c_in, 1)
            self.bn2_1 = nn.BatchNorm2d(c_in, eps=eps)
            self.bn2_2 = nn.BatchNorm2d(c_in, eps=eps)
        else:
            self.binary_pw = HardBinaryConv(c_in, c_in, 1)
            self.bn2 = nn.BatchNorm2d(c_in, eps=eps)
        self.move22 = LearnableBias(c_out)
        self.prelu2 = nn.PReLU(c_out)
        self.move23 = LearnableBias(c_out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.binary_3x3(binary_activation(self.move11(x))))
        x = y + (self.pooling(x) if self.stride == 2 else x)
        x = self.move13(self.prelu1(self.move12(x)))
        bits = binary_activation(self.move21(x))
        if self.doubles:
            x = torch.cat([self.bn2_1(self.binary_pw_down1(bits)) + x,
                           self.bn2_2(self.binary_pw_down2(bits)) + x], dim=1)
        else:
            x = self.bn2(self.binary_pw(bits)) + x
        return self.move23(self.prelu2(self.move22(x)))


class ReActNetA(nn.Module):
    """Maps float images (N, 3, H, W), normalised, to logits (N, num_classes)."""

    def __init__(self, geometry: MobileGeometry, bn_eps: float = 1e-5):
        super().__init__()
        self.geometry = geometry
        c = geometry.channels
        stride = 2 if geometry.stem == "imagenet" else 1
        self.feature = nn.ModuleList([Stem(c[0], stride, bn_eps)])
        for i, stride in enumerate(geometry.strides()):
            self.feature.append(MobileBlock(c[i], c[i + 1], stride, bn_eps))
        self.fc = nn.Linear(c[-1], geometry.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.feature:
            x = block(x)
        return self.fc(x.mean(dim=(2, 3)))
