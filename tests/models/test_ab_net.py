"""A&B BNN in PyTorch: the papers' semantics, gradients, and the two steps of training."""

import pytest
import torch

from models.ab.layers import BinaryStdConv2d, QPReLU, binary_sign, standardised
from models.ab.net import KINDS, Geometry, MobileGeometry, build, schedule, set_binary_weights

WIDTHS, DEPTHS = (6, 8, 12, 16), (4, 4, 4, 4)
CHANNELS = tuple(c // 8 for c in (32, 64, 128, 128, 256, 256, *(512,) * 6, 1024, 1024))


def randomised(net, seed):
    """Every parameter random; weights with means, gains of both signs, exponents at halves too."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in net.state_dict().items():
            drawn = torch.randn(value.shape, generator=g)
            if key.endswith("L_alpha"):
                drawn = (drawn * 4 - 4).clamp(-19, 7) / 2
                drawn = drawn.round() / 2 if key.endswith("prelu.L_alpha") else drawn
            elif key.endswith("weight") and drawn.dim() == 4:
                drawn = 0.1 * (drawn + torch.randn(len(drawn), 1, 1, 1, generator=g))
            elif key.endswith("bias"):
                drawn = drawn * 0.3
            value.copy_(drawn)
    return net.eval().double()


def images(size, seed=0):
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("kind", KINDS)
def test_residual_networks_are_what_the_paper_says(restated, kind, stem):
    net = randomised(build(Geometry(kind, stem, WIDTHS, DEPTHS, 7)), seed=len(kind))
    x = images(16 if stem == "cifar" else 64)
    with torch.no_grad():
        found, expected = net(x), restated.ab_residual(net.state_dict(), kind, x)
    assert expected.std() > 0.01
    assert (found - expected).abs().max() < 1e-10 * expected.abs().max()


@pytest.mark.parametrize(("stem", "stride"), [("cifar", 1), ("imagenet", 2)])
def test_reactnet_a_is_what_the_paper_says(restated, stem, stride):
    net = randomised(build(MobileGeometry(stem, CHANNELS, 7)), seed=5)
    x = images(32 * stride)
    with torch.no_grad():
        found, expected = net(x), restated.ab_reactnet_a(net.state_dict(), stride, x)
    assert expected.std() > 0.01
    assert (found - expected).abs().max() < 1e-10 * expected.abs().max()


def test_expected_variances_are_the_published_ones(restated):
    assert schedule((4, 4, 4, 4)) == restated.EV18
    assert schedule((6, 8, 12, 6)) == restated.EV34


def test_sign_and_its_derivative():
    x = torch.tensor([-2.0, -0.1, 0.0, 0.3], requires_grad=True)
    y = binary_sign(x)
    assert y.tolist() == [-1, -1, 0, 1]
    y.backward(torch.ones(4))
    inner = x.detach().clone().requires_grad_()
    (2 * torch.sigmoid(3 * inner)).sum().backward()
    assert torch.allclose(x.grad, inner.grad)


def test_slopes_round_half_to_even_and_pass_gradients():
    act = QPReLU(5)
    with torch.no_grad():
        act.L_alpha.copy_(torch.tensor([-2.5, -3.5, 0.5, 1.4, -19.2]))
    assert act.slope().tolist() == [2.0**-2, 2.0**-4, 1.0, 2.0, 2.0**-19]
    x = -torch.ones(1, 5, 2, 2)
    act(x).sum().backward()
    assert torch.allclose(act.L_alpha.grad, -4 * 0.6931472 * act.slope().detach())


def test_bits_are_the_side_of_the_mean():
    conv = BinaryStdConv2d(4, 3, 3).eval()
    with torch.no_grad():
        conv.weight.copy_(torch.rand(conv.weight.shape) + 1)  # all positive
        conv.gain.copy_(torch.tensor([-2.0, 0.5, 1.0]).view(3, 1, 1, 1))
        bits, factor = conv.parts()
    assert set(bits.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(bits > 0, conv.weight > conv.weight.mean(dim=(1, 2, 3), keepdim=True))
    m = standardised(conv.weight).abs().mean(dim=(1, 2, 3))
    assert torch.allclose(factor.reshape(-1), torch.tensor([-2.0, 0.5, 1.0]) * m)


def test_weight_gradient_is_that_of_the_standardised_weights():
    torch.manual_seed(0)
    conv, plain = BinaryStdConv2d(3, 4, 3), BinaryStdConv2d(3, 4, 3)
    plain.load_state_dict(conv.state_dict())
    plain.binary = False
    x, g = torch.randn(2, 3, 6, 6).sign(), torch.randn(2, 4, 4, 4)
    (conv.train()(x) * g).sum().backward()
    (plain.train()(x) * g).sum().backward()
    assert torch.allclose(conv.weight.grad, plain.weight.grad, atol=1e-5)
    assert not torch.allclose(conv.gain.grad, plain.gain.grad, atol=1e-3)


@pytest.mark.parametrize("binary", [True, False])
def test_training_and_evaluation_forward_agree(binary):
    torch.manual_seed(0)
    net = build(Geometry("reactnet", "cifar", (8, 12), (1, 2), 5))
    set_binary_weights(net, binary)
    x = torch.randn(4, 3, 16, 16)
    trained = net.train()(x)
    trained.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    assert torch.allclose(trained, net.eval()(x), atol=1e-5)
    set_binary_weights(net, not binary)
    assert not torch.allclose(trained, net(x), atol=1e-2)


def test_bfloat16_sums_of_bits_are_exact_while_small():
    torch.manual_seed(0)
    conv = BinaryStdConv2d(8, 8, 3, 1, 1).train()
    x = torch.randn(2, 8, 6, 6).sign()
    exact = conv(x)
    conv.compute_dtype = torch.bfloat16
    assert torch.allclose(conv(x), exact, rtol=1e-6)
