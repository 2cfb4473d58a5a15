"""Class and cycles of each image of a batch, kept until the host has fetched them."""

import operator

from amaranth.hdl import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BatchResults"]


class BatchResults(wiring.Component):
    """What an engine says of each image of a batch, by the image's number.

    Parameters
    ----------
    batch : int
        Images of a batch, two or more.

    Members
    -------
    i_done : In(1);  i_class, i_cycles : In(16), In(32)
        As of the engine: a pulse for each image, with its class and cycles.
    i_image : In(range(batch));  o_class, o_cycles : Out(16), Out(32)
        Two cycles after its number, an image's.
    o_done : Out(1)
        Pulse: those of the batch's last image are kept.
    """

    def __init__(self, batch: int):
        self._batch = operator.index(batch)
        if self._batch < 2:
            raise ValueError(f"a batch of {batch} images")
        super().__init__({
            "i_done": In(1),
            "i_class": In(16),
            "i_cycles": In(32),
            "i_image": In(range(self._batch)),
            "o_class": Out(16),
            "o_cycles": Out(32),
            "o_done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        layout = data.StructLayout({"label": 16, "cycles": 32})
        m.submodules.kept = kept = memory.Memory(shape=layout, depth=self._batch, init=[])
        write, read = kept.write_port(), kept.read_port()
        image, last = Signal(range(self._batch)), Signal()
        m.d.comb += [
            last.eq(image == self._batch - 1),
            write.addr.eq(image),
            write.data.label.eq(self.i_class),
            write.data.cycles.eq(self.i_cycles),
            write.en.eq(self.i_done),
            read.addr.eq(self.i_image),
            read.en.eq(1),
            self.o_class.eq(read.data.label),
            self.o_cycles.eq(read.data.cycles),
        ]
        m.d.sync += self.o_done.eq(self.i_done & last)
        with m.If(self.i_done):
            m.d.sync += image.eq(Mux(last, 0, image + 1))
        return m
