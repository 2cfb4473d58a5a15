"""A network family of one's own, in one file: plain binary convolutions without residuals.

    hwbnn compile my_net.pth --family examples/my_family.py --option strides=1,2,1

`PlainNet` is what was trained; `PlainFamily` tells the compiler how to recognise and read it.
"""

import re

import numpy as np
import torch
from torch import nn

from hwbnn.errors import CheckpointError
from hwbnn.ops import float_ops as F
from models.builder import GraphBuilder
from models.registry import COMMON, Match, Option, register


class PlainNet(nn.Module):
    """BN(3x3 real stem) -> [sign -> 3x3 binary convolution -> BN] * n -> mean -> classifier."""

    def __init__(self, widths=(16, 16, 32, 32), strides=(1, 2, 1), classes=10, eps=1e-5):
        super().__init__()
        self.strides = tuple(strides)
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(widths[0], eps=eps)
        pairs = zip(widths, widths[1:], strict=False)
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(o, eps=eps) for o in widths[1:])
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x):
        x = self.stem_bn(self.stem(x))
        for conv, norm, stride in zip(self.convs, self.norms, self.strides, strict=True):
            x = norm(nn.functional.conv2d(x.sign(), conv.weight.sign(), stride=stride, padding=1))
        return self.fc(x.mean(dim=(2, 3)))


def _strides(text):
    return tuple(int(part) for part in text.split(","))


@register
class PlainFamily:
    name = "plain-example"
    describe = "example: stem, then binary 3x3 convolutions without residuals"
    # What no key of the file states must be an option.
    options = (*COMMON, Option("strides", None, "stride of each binary convolution: 1,2,1",
                               _strides))

    def recognise(self, checkpoint):
        if "stem.weight" not in checkpoint.tensors or "convs.0.weight" not in checkpoint.tensors:
            return Match.no("no stem.weight and convs.0.weight")
        return Match(1.0, (f"{self._depth(checkpoint)} plain binary convolutions",))

    def geometry(self, checkpoint, options):
        depth = self._depth(checkpoint)
        strides = options["strides"] or (1,) * depth
        if len(strides) != depth:
            raise CheckpointError(f"has {depth} binary convolutions, option strides {len(strides)}",
                                  where=checkpoint.origin)
        convs = [checkpoint.tensors[f"convs.{i}.weight"] for i in range(depth)]
        widths = (convs[0].shape[1], *(w.shape[0] for w in convs))
        return {"widths": widths, "strides": strides,
                "classes": checkpoint.tensors["fc.weight"].shape[0]}

    def to_torch(self, checkpoint, options):
        net = PlainNet(**self.geometry(checkpoint, options), eps=options["bn_eps"])
        net.load_state_dict(checkpoint.tensors)
        return net.eval()

    def lower(self, checkpoint, options):
        geometry = self.geometry(checkpoint, options)
        build = GraphBuilder(checkpoint, options["bn_eps"])
        size = options["input_size"] or 32
        build.decide("input_size", f"{size}x{size}", "default or given; not in the file")
        x = build.input(size, options["mean"], options["std"])
        x = build.batch_norm("stem_bn", build.conv("stem", x, padding=1))
        for i, stride in enumerate(geometry["strides"]):
            latent = build.array(f"convs.{i}.weight")
            if (latent == 0).any():
                raise CheckpointError("has weights that are exactly 0, which is no binary value",
                                      where=f"{checkpoint.origin}: convs.{i}.weight")
            weight = np.where(latent < 0, -1, 1).astype(np.int8)
            x = build.sign(f"sign.{i}", x)
            x = build.add(f"convs.{i}", F.FBinaryConv2d(weight, stride, padding=1), x)
            x = build.batch_norm(f"norms.{i}", x)
        x = build.linear("fc", build.add("mean", F.FGlobalAvgPool(), x))
        return build.graph(x, {"family": self.name, "input_size": size})

    @staticmethod
    def _depth(checkpoint):
        return len([k for k in checkpoint.tensors if re.fullmatch(r"convs\.\d+\.weight", k)])


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.save(PlainNet().state_dict(), "my_net.pth")
    print("wrote my_net.pth (untrained)")
