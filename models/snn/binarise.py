"""Sub-bit weight and binary activation quantisers of SNN (Wang et al., ICCV 2021).

A 3x3 kernel is one of 2^tau codewords of nine signs; tau = 9 is a plain binary kernel. Module and
parameter names follow the authors' code (github.com/yikaiw/SNN), so that checkpoints interchange.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK = 1 << 21  # scores held at once
CLOSE = 1e-9  # of a kernel's norm; further apart, no order of summation changes the winner
HYSTERESIS = 1e-3  # below this magnitude an element of a pattern keeps its last sign
KERNEL = 9


class _Sign(torch.autograd.Function):
    """sign(x), with the derivative of Bi-Real Net's piecewise polynomial: max(0, 2 - 2|x|)."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.sign(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * (2 - 2 * x.abs()).clamp_(min=0)


def binary_activation(x: Tensor) -> Tensor:
    """Signs of x in {-1, 0, +1}; 0 only where x is exactly 0, as in the authors' code."""
    return _Sign.apply(x)


def nearest_codeword(kernels: Tensor, codewords: Tensor) -> Tensor:
    """Index (int64, N) of the codeword nearest to each kernel; ties take the lowest index.

    Parameters
    ----------
    kernels : Tensor
        Latent kernels, (N, 9), row-major 3x3.
    codewords : Tensor
        Signs, (M, 9). All have the same norm, so the nearest has the largest dot product.
    """
    kernels, codewords = kernels.double(), codewords.double()
    parts = [_nearest(part, codewords) for part in kernels.split(max(1, BLOCK // len(codewords)))]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)


def _nearest(kernels: Tensor, codewords: Tensor) -> Tensor:
    if len(codewords) == 1:
        return torch.zeros(len(kernels), dtype=torch.int64)
    top = (kernels @ codewords.T).topk(2, dim=1)
    best = top.indices[:, 0].clone()
    close = top.values[:, 0] - top.values[:, 1] <= CLOSE * kernels.norm(dim=1)
    # Summed tap by tap, so that every implementation of this sum rounds alike.
    doubt = kernels[close]
    score = doubt[:, :1] * codewords[:, 0]
    for tap in range(1, KERNEL):
        score += doubt[:, tap : tap + 1] * codewords[:, tap]
    best[close] = score.argmax(dim=1)
    return best


def all_codewords() -> Tensor:
    """Every codeword, float32 (512, 9); element 0 is the most significant bit of the index."""
    bits = (torch.arange(2**KERNEL)[:, None] >> torch.arange(KERNEL - 1, -1, -1)) & 1
    return bits.float() * 2 - 1


class Codebook(nn.Module):
    """The 2^tau codewords of one layer, refined by gradient through latent `patterns`.

    Members
    -------
    patterns : Parameter, float32 (2^tau, 9)
        Latent codewords; the sign of each element counts.
    memory : buffer, not saved
        Last sign of each element, used while |pattern| < 1e-3.
    """

    def __init__(self, tau: int, generator: torch.Generator | None = None):
        super().__init__()
        chosen = torch.randperm(2**KERNEL, generator=generator)[: 2**tau]
        self.patterns = nn.Parameter(all_codewords()[chosen])
        self.register_buffer("memory", self.patterns.detach().clone(), persistent=False)
        self._register_load_state_dict_pre_hook(self._recall)

    def _recall(self, state_dict, prefix, *_):
        # The file holds no memory: the signs of its patterns are all that is known.
        patterns = state_dict.get(f"{prefix}patterns")
        if patterns is not None and patterns.shape == self.memory.shape:
            self.memory.copy_(torch.where(patterns < 0, -1.0, 1.0))

    def codewords(self) -> Tensor:
        """Signs (2^tau, 9), differentiable straight through to `patterns`."""
        held = self.patterns.abs() < HYSTERESIS
        signs = torch.where(held, self.memory, torch.sign(self.patterns)).detach()
        return signs + (self.patterns - self.patterns.detach())

    @torch.no_grad()
    def remember(self) -> None:
        """Store the present signs; call once after each optimiser step."""
        moved = self.patterns.abs() >= HYSTERESIS
        self.memory.copy_(torch.where(moved, torch.sign(self.patterns), self.memory))
        self.patterns.clamp_(-3, 3)

    @torch.no_grad()
    def replace_duplicates(self, generator: torch.Generator | None = None) -> int:
        """Give every repeated codeword a random unused one; return how many were replaced."""
        weights = 2 ** torch.arange(KERNEL - 1, -1, -1)
        number = ((self.memory > 0).long() * weights).sum(1).tolist()
        seen: set[int] = set()
        repeated = [j for j, n in enumerate(number) if n in seen or seen.add(n)]
        if repeated:
            unused = torch.tensor(sorted(set(range(2**KERNEL)) - seen))
            pick = unused[torch.randperm(len(unused), generator=generator)[: len(repeated)]]
            self.patterns[repeated] = all_codewords()[pick]
            self.memory[repeated] = all_codewords()[pick]
        return len(repeated)

    @torch.no_grad()
    def settle(self) -> None:
        """Move held elements out of the hysteresis band, so that the saved signs are complete."""
        held = self.patterns.abs() < 2 * HYSTERESIS
        self.patterns.copy_(torch.where(held, self.memory * 2 * HYSTERESIS, self.patterns))


class BinaryConv(nn.Module):
    """3x3 convolution, padding 1, weights alpha[c] * Q with Q in ±1 and alpha[c] = mean |latent|.

    `tau` None means no codebook: Q = sign(latent). With `binarize` a Codebook, each kernel of Q is
    its nearest codeword. `compute_dtype` narrows the convolution while training (±1 is exact in
    bfloat16; sums beyond 256 round); evaluation always uses the dtype of its input.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, tau: int | None):
        super().__init__()
        self.stride = stride
        self.compute_dtype: torch.dtype | None = None
        self.weight = nn.Parameter(torch.empty(c_out, c_in, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.binarize = None if tau is None else Codebook(tau)

    def alpha(self) -> Tensor:
        """Scale of each output channel, (C_out,)."""
        return self.weight.detach().abs().mean(dim=(1, 2, 3))

    def binary_weight(self) -> Tensor:
        """Q, shaped as the latent weight; gradients pass straight through where |latent| <= 1."""
        clipped = self.weight.clamp(-1, 1)
        latent = self.weight.detach()
        if self.binarize is None:
            return torch.sign(latent) + (clipped - clipped.detach())
        codewords = self.binarize.codewords()
        kernels = latent.reshape(-1, KERNEL)
        if self.training:  # near-ties may go either way here, so the fast product will do
            index = (kernels @ codewords.detach().t()).argmax(dim=1)
        else:
            index = nearest_codeword(kernels, codewords.detach())
        return codewords[index].view_as(latent) + (clipped - clipped.detach())

    def forward(self, x: Tensor) -> Tensor:
        q, alpha = self.binary_weight(), self.alpha()
        if not self.training:
            w = q * alpha[:, None, None, None]
            return F.conv2d(x, w.to(x.dtype), stride=self.stride, padding=1)
        dtype = self.compute_dtype or x.dtype
        p = F.conv2d(x.to(dtype), q.to(dtype), stride=self.stride, padding=1)
        return p.to(x.dtype) * alpha[:, None, None]
