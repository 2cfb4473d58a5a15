"""Pulses and levels from one clock domain to another."""

from amaranth.hdl import *
from amaranth.lib.cdc import FFSynchronizer, PulseSynchronizer

__all__ = ["level", "pulse"]


def level(m: Module, value, o_domain: str, *, init: int = 0) -> Signal:
    """One bit that changes rarely, two cycles later in ``o_domain``; ``init`` until then."""
    out = Signal(init=init)
    m.submodules += FFSynchronizer(value, out, o_domain=o_domain, init=init, reset_less=False)
    return out


def pulse(m: Module, value, i_domain: str, o_domain: str) -> Signal:
    """High for a cycle of ``o_domain`` for each cycle of ``i_domain`` with ``value`` high.

    What stands still meanwhile can be read then. Pulses lie four cycles of either domain apart.
    """
    m.submodules += (unit := PulseSynchronizer(i_domain, o_domain))
    m.d.comb += unit.i.eq(value)
    return unit.o
