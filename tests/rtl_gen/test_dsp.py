"""``Multiplier18`` in plain gates: the product, three cycles later."""

import random

from rtl_gen.units.dsp import Multiplier18

EDGES = (-(1 << 17), (1 << 17) - 1, 0, 1, -1, 2)


def test_products(products):
    dut = Multiplier18()
    rng = random.Random(18)
    pairs = [(a, b) for a in EDGES for b in EDGES]
    pairs += [(rng.randrange(-(1 << 17), 1 << 17), rng.randrange(-(1 << 17), 1 << 17))
              for _ in range(200)]
    assert products(dut, pairs) == [a * b for a, b in pairs]
