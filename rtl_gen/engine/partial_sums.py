"""Sums over input groups, in a memory behind the arrays."""

from amaranth.hdl import *
from amaranth.lib import data

from .common import DelayLine, Ram
from .config import EngineConfig
from .sequencer import issue_layout
from .timing import Timing

__all__ = ["partial_sums"]


def partial_sums(m, config: EngineConfig, timing: Timing, step, issue, sums, others):
    """Accumulate over input groups; returns accumulators and the controls beside them.

    ``sums`` are those of the XNOR and the dense array, ``others`` pairs of a condition and what
    then comes in the dense array's place. The controls are a delay line whose tap 0 accompanies
    the sums; accumulators are valid with tap 2.
    """
    # the read is a cycle ahead of the sums: its data takes two; and it goes to many blocks
    following, ahead, reads = Signal(issue_layout(config)), Signal(issue_layout(config)), Signal()
    late, early = issue[timing.issue_to_d - 2], issue[timing.issue_to_x - 2]
    m.d.comb += following.eq(Mux(step.dense, late, early))
    m.d.sync += [ahead.eq(following), reads.eq(following.valid & ~following.first)]
    at = DelayLine(m, ahead, "control", reset=True).after(1)
    width, depth = config.memories()["psum"]
    m.submodules.psum = ram = Ram(
        name="psum", width=width, depth=depth, registered=True
    )
    counter, address = Signal(range(depth)), Signal(range(depth))
    m.d.comb += address.eq(Mux(ahead.tile_first, 0, counter))
    with m.If(ahead.valid):
        m.d.sync += counter.eq(address + 1)
    addresses = DelayLine(m, address, "psum_addr")
    n = config.lanes * config.pixels
    layout = data.ArrayLayout(signed(config.acc_bits), n)
    incoming = Signal(layout, reset_less=True)
    before, acc = Signal(layout), Signal(layout, reset_less=True)
    dense, *here = (Signal(name=f"sums_of{k}") for k in range(1 + len(others)))
    others = [(mine, *other) for mine, other in zip(here, others, strict=True)]
    m.d.sync += [dense.eq(step.dense), *(mine.eq(theirs) for mine, theirs, _sums in others)]
    for i in range(n):
        xnor, multi_bit = (source[i] for source in sums)
        for mine, _theirs, source in others:
            multi_bit = Mux(mine, source[i], multi_bit)
        m.d.sync += [
            incoming[i].eq(Mux(dense, multi_bit, xnor)),
            acc[i].eq(incoming[i] + Mux(at[1].first, 0, before[i])),
        ]
    m.d.comb += [
        before.eq(ram.r_data),
        ram.r_en.eq(reads),
        ram.r_addr.eq(address),
        ram.w_en.eq(at[2].valid & ~at[2].last),
        ram.w_addr.eq(addresses[3]),
        ram.w_data.eq(acc),
    ]
    return acc, at
