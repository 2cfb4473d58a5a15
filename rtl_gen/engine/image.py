"""The image memory: pixels arrive one by one, leave as words of 2*T columns from row banks.

It holds a whole image, or a ring of its rows.
"""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .common import Ram
from .config import COORDINATE_BITS, PIXEL_BITS, ROW_BANKS, EngineConfig

__all__ = ["ImageMemory"]


class ImageMemory(wiring.Component):
    """Rows of one image of 8-bit RGB pixels; row y lies in bank y % 3, slot y // 3 % slots.

    Members
    -------
    i_known, i_height, i_width, i_slots : In
        Size of an image and rows kept in each bank, once known.
    i_pixel : In(stream of 24 bits)
        Pixels in raster order, red in the low byte; stalls while all rows kept are in use. An
        image begins when nothing is left of the one before.
    o_rows : Out, i_free : In(1), i_release : In
        Complete rows at hand; so many of the oldest are no longer needed.
    i_row_addr, i_new, o_words
        Read port, as of BitMap, but with an enable for each bank: words two cycles after it. What
        lies outside the image is not to be read, since its place may be written meanwhile.
    """

    READ_LATENCY = 2

    def __init__(self, config: EngineConfig):
        self._config = config
        self._word = 2 * config.pixels * PIXEL_BITS
        super().__init__(
            {
                "i_known": In(1),
                "i_height": In(10),
                "i_width": In(10),
                "i_slots": In(COORDINATE_BITS),
                "i_pixel": In(stream.Signature(PIXEL_BITS)),
                "o_rows": Out(COORDINATE_BITS + 1),
                "i_free": In(1),
                "i_release": In(COORDINATE_BITS + 1),
                "i_row_addr": In(data.ArrayLayout(config.bit_addr_bits, ROW_BANKS)),
                "i_new": In(ROW_BANKS),
                "o_words": Out(data.ArrayLayout(self._word, ROW_BANKS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        columns = 2 * config.pixels
        word = Signal(data.ArrayLayout(PIXEL_BITS, columns))
        column = Signal(range(columns))
        x, y, bank = Signal(10), Signal(10), Signal(2)
        address, row_start = Signal(config.bit_addr_bits), Signal(config.bit_addr_bits)
        slot = Signal(COORDINATE_BITS)
        row_end, flush, room, ended = Signal(), Signal(), Signal(), Signal()
        capacity = Signal(COORDINATE_BITS + 2)
        m.d.sync += capacity.eq((self.i_slots << 1) + self.i_slots)  # a product would take a DSP
        accept = Signal()
        write, write_bank, write_addr = Signal(), Signal(2), Signal(config.bit_addr_bits)
        m.d.sync += [
            # the row being written has a place of its own; from a register, as ready goes far, so
            # that a row takes a cycle more
            room.eq(self.i_known & Mux(y == 0, self.o_rows == 0, self.o_rows < capacity)),
            ended.eq(accept & row_end),
        ]
        m.d.comb += [
            self.i_pixel.ready.eq(room & ~ended),
            accept.eq(self.i_pixel.valid & self.i_pixel.ready),
            row_end.eq(x + 1 == self.i_width),
            flush.eq(accept & (row_end | (column == columns - 1))),
        ]
        m.d.sync += [write.eq(flush), write_bank.eq(bank), write_addr.eq(address)]
        with m.If(accept):
            m.d.sync += [
                word[column].eq(self.i_pixel.payload),
                column.eq(column + 1),
                x.eq(x + 1),
            ]
            with m.If(flush):
                m.d.sync += [column.eq(0), address.eq(address + 1)]
            with m.If(row_end):
                m.d.sync += [x.eq(0), y.eq(y + 1), address.eq(row_start), bank.eq(bank + 1)]
                with m.If(bank == ROW_BANKS - 1):
                    m.d.sync += [
                        bank.eq(0),
                        slot.eq(slot + 1),
                        address.eq(address + 1),
                        row_start.eq(address + 1),
                    ]
                    with m.If(slot + 1 == self.i_slots):
                        m.d.sync += [slot.eq(0), address.eq(0), row_start.eq(0)]
                with m.If(y + 1 == self.i_height):
                    m.d.sync += [y.eq(0), bank.eq(0), slot.eq(0), address.eq(0), row_start.eq(0)]
        m.d.sync += self.o_rows.eq(
            self.o_rows + (accept & row_end) - Mux(self.i_free, self.i_release, 0)
        )
        for b in range(ROW_BANKS):
            ram = Ram(
                name=f"image{b}", width=self._word, depth=config.image_depth, registered=True
            )
            m.submodules[f"image{b}"] = ram
            m.d.comb += [
                ram.w_en.eq(write & (write_bank == b)),
                ram.w_addr.eq(write_addr),
                ram.w_data.eq(word),
                ram.r_en.eq(self.i_new[b]),
                ram.r_addr.eq(self.i_row_addr[b]),
            ]
            m.d.comb += self.o_words[b].eq(ram.r_data)
        return m
