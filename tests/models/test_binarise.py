"""The quantisers: values, gradients, and how a codebook keeps and loses signs."""

import numpy as np
import pytest
import torch

from models.snn.binarise import (
    BinaryConv,
    Codebook,
    all_codewords,
    binary_activation,
    nearest_codeword,
)
from models.snn.codebook import decode


def test_activation_signs_and_their_derivative():
    x = torch.tensor([-2.0, -0.5, 0.0, 0.25, 3.0], requires_grad=True)
    y = binary_activation(x)
    assert y.tolist() == [-1, -1, 0, 1, 1]
    y.backward(torch.ones(5))
    assert x.grad.tolist() == [0, 1, 2, 1.5, 0]


def test_every_codeword_once_and_most_significant_first():
    words = all_codewords()
    assert words.shape == (512, 9) and len(torch.unique(words, dim=0)) == 512
    assert words[1].tolist() == [-1] * 8 + [1] and words[256].tolist() == [1] + [-1] * 8


def test_nearest_codeword_minimises_distance_and_breaks_ties_low():
    g = torch.Generator().manual_seed(0)
    words = all_codewords()[torch.randperm(512, generator=g)[:16]]
    kernels = torch.randn(2000, 9, generator=g)
    assert torch.equal(
        nearest_codeword(kernels, words), torch.cdist(kernels.double(), words.double()).argmin(1)
    )
    assert nearest_codeword(torch.zeros(1, 9), words).item() == 0
    assert nearest_codeword(kernels, torch.cat([words, words])).max() < 16


@pytest.mark.parametrize("count", [1, 2, 16, 512])
def test_nearest_codeword_is_the_sum_tap_by_tap_even_in_near_ties(count):
    g = torch.Generator().manual_seed(count)
    words = all_codewords()[torch.randperm(512, generator=g)[:count]]
    kernels = torch.randn(5000, 9, generator=g).double()
    kernels[:1000] = kernels[:1000].round()  # many exact ties
    kernels[1000:2000] = kernels[1000:2000].round() + 1e-15 * kernels[2000:3000]
    kernels[0] = 0
    score = kernels[:, :1] * words[:, 0].double()
    for tap in range(1, 9):
        score = score + kernels[:, tap : tap + 1] * words[:, tap].double()
    expected = score.argmax(dim=1)
    assert torch.equal(nearest_codeword(kernels, words), expected)
    latent = kernels.reshape(50, 100, 3, 3).numpy()
    found = decode(latent, words.double().numpy(), "layer")
    if found.ids is not None:
        assert np.array_equal(found.ids.ravel(), expected.numpy())
    weight = words[expected].reshape(latent.shape)
    assert np.array_equal(found.weight, weight.numpy())


def test_full_codebook_is_plain_sign():
    conv = BinaryConv(4, 6, 1, 9).eval()
    assert torch.equal(conv.binary_weight(), torch.sign(conv.weight))


def test_small_pattern_keeps_its_last_sign():
    book = Codebook(3)
    before = book.codewords().detach().clone()
    with torch.no_grad():
        book.patterns[2, 4] = -5e-4 * before[2, 4]  # crosses zero, but not by enough
    book.remember()
    assert torch.equal(book.codewords(), before)
    book.settle()
    assert book.patterns[2, 4] == 2e-3 * before[2, 4]
    with torch.no_grad():
        book.patterns[2, 4] = -2e-3 * before[2, 4]
    book.remember()
    assert book.codewords()[2, 4] == -before[2, 4]


def test_settled_codebook_survives_a_file():
    book, other = Codebook(3), Codebook(3)
    with torch.no_grad():
        book.patterns[0] = 1e-4
        book.memory[0] = -1
    book.settle()
    other.load_state_dict(book.state_dict())
    assert list(book.state_dict()) == ["patterns"]
    assert torch.equal(other.codewords(), book.codewords())
    assert (other.codewords()[0] == -1).all()


def test_duplicates_get_unused_codewords():
    book = Codebook(4)
    with torch.no_grad():
        book.patterns[[3, 9]] = book.patterns[1] * 0.5
    book.remember()
    kept = book.codewords()[[0, 1, 2]].detach().clone()
    assert book.replace_duplicates(torch.Generator().manual_seed(0)) == 2
    assert len(torch.unique(book.codewords(), dim=0)) == 16
    assert torch.equal(book.codewords()[[0, 1, 2]], kept)
    assert book.replace_duplicates() == 0


def test_gradients_reach_latents_and_the_codewords_in_use():
    torch.manual_seed(0)
    conv = BinaryConv(2, 2, 1, 2)
    with torch.no_grad():
        conv.weight[0, 0, 0, 0] = 1.5  # beyond 1: no gradient
    q = conv.binary_weight()
    assert set(q.detach().unique().tolist()) == {-1.0, 1.0}
    g = torch.randn(q.shape)
    q.backward(g)
    expected = g.clone()
    expected[0, 0, 0, 0] = 0
    assert torch.equal(conv.weight.grad, expected)
    index = nearest_codeword(conv.weight.detach().reshape(-1, 9), conv.binarize.codewords())
    sums = torch.zeros(4, 9).index_add_(0, index, g.reshape(-1, 9))
    assert torch.allclose(conv.binarize.patterns.grad, sums)


def test_training_and_evaluation_forward_agree():
    torch.manual_seed(0)
    conv = BinaryConv(8, 8, 2, 4)
    x = torch.randn(2, 8, 6, 6).sign()
    trained = conv.train()(x)
    assert torch.allclose(trained, conv.eval()(x), atol=1e-5)
    conv.train().compute_dtype = torch.bfloat16  # sums up to 72 are exact
    assert torch.equal(conv(x), trained)
