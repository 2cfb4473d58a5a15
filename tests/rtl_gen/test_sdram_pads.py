# amaranth: UnusedElaboratable=no
"""The pads of the SDRAM: where the flip-flops are, and the netlist on the chip model."""

import collections
import json

import pytest
from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Out

from boards import get_board
from hwbnn import tools
from hwbnn.cache import Cache
from hwbnn.emit import emit
from hwbnn.place import lpf
from hwbnn.synth import synthesise
from rtl_gen.sdram.controller import SdramController
from rtl_gen.sdram.pads import SdramPads
from rtl_gen.sdram.timing import SDRAM_32MB
from sim.netlist import WARNINGS, netlist_sources
from sim.sdram import CHIP
from sim.verilator import binary


class OnPads(wiring.Component):
    """A controller that reads words 5 to 1004 for ever, with its pads."""

    def __init__(self, *, read_delay):
        self._read_delay = read_delay
        super().__init__({"o": Out(stream.Signature(16))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sdram = sdram = SdramController(
            SDRAM_32MB, 100_000_000, fifo_depth=64, read_delay=self._read_delay
        )
        m.submodules.pads = SdramPads(sdram, clock="sync", inverted=True)
        started = Signal()
        m.d.sync += started.eq(1)
        m.d.comb += [sdram.i_start.eq(~started), sdram.i_base.eq(5), sdram.i_words.eq(1000)]
        wiring.connect(m, sdram.o, wiring.flipped(self.o))
        return m


def synthesised(folder, **options):
    return synthesise(emit(OnPads(**options), "top"), {}, out_dir=folder,
                      cache=Cache(enabled=False))  # fmt: skip


def test_every_pin_has_its_flip_flop_and_a_site(tmp_path):
    """What nextpnr needs to pack them: marked, and connected to nothing but the pad."""
    netlist = synthesised(tmp_path, read_delay=2)
    pins = [port for port in netlist.ports if port.startswith("sdram_")]
    assert len(pins) == 39
    assert lpf(get_board("ulx3s"), pins).count("LOCATE") == 39
    modules = json.loads((tmp_path / "design.json").read_text())["modules"]
    cells = modules["top"]["cells"].values()
    users = collections.Counter(
        bit for cell in cells for port, bits in cell["connections"].items()
        if cell["port_directions"][port] == "input" for bit in bits)  # fmt: skip
    by_q = {c["connections"]["Q"][0]: c for c in cells if c["type"] in ("TRELLIS_FF", "ODDRX1F")}
    by_d = {c["connections"]["DI"][0]: c for c in cells if c["type"] == "TRELLIS_FF"}
    seen = collections.Counter()
    for pad in (c for c in cells if c["type"] == "TRELLIS_IO"):
        driven = [pad["connections"][p][0] for p in "IT" if p in pad["connections"]]
        for bit in (b for b in driven if isinstance(b, int)):  # others are constants
            assert users[bit] == 1
            assert by_q[bit]["type"] == "ODDRX1F" or "syn_useioff" in by_q[bit]["attributes"]
            seen[by_q[bit]["type"]] += 1
        if pad["parameters"]["DIR"] == "BIDIR":
            assert "syn_useioff" in by_d[pad["connections"]["O"][0]]["attributes"]
            seen["in"] += 1
    assert seen == {"ODDRX1F": 1, "TRELLIS_FF": 22 + 32, "in": 16}


BENCH = """`timescale 1ps / 1ps
module bench;
    reg clk = 0, take = 0;
    wire valid, drives;
    wire [15:0] payload, from_chip;
    wire PINS;
    gates dut (
        .clk(clk), .rst(1'b0), .o__valid(valid), .o__ready(take), .o__payload(payload), CONNECTED
    );
    sdr_sdram #(.WORDS(65536)) chip (
        .clk(sdram_clk), .cke(sdram_cke), .cs_n(sdram_cs_n), .ras_n(sdram_ras_n),
        .cas_n(sdram_cas_n), .we_n(sdram_we_n), .ba({BA}), .a({A}), .dqm({DQM}), .dq_i({DQ}),
        .dq_i_en(1'b0), .dq_o(from_chip), .dq_o_en(drives)
    );
    assign {DQ} = drives ? from_chip : 16'bz;
    always #5000 clk = ~clk;
    integer seen = 0;
    always @(posedge clk) begin
        take <= $urandom_range(9) != 0;
        if (valid && take) begin
            $display("WORD %0d", payload);
            seen <= seen + 1;
            if (seen == 2999) $finish;
        end
    end
    initial #(1000000000) $fatal(1, "too slow");
endmodule
"""


@pytest.mark.slow
@pytest.mark.parametrize(("read_delay", "right"), [(1, True), (2, False)])
def test_the_netlist_reads_the_chip(tmp_path, read_delay, right):
    """Two registers more, and the inverted clock (without any delays) takes one cycle off."""
    netlist = synthesised(tmp_path, read_delay=read_delay)
    gates = netlist_sources(netlist, tmp_path, name="gates")
    pins = [port for port in netlist.ports if port.startswith("sdram_")]
    text = BENCH.replace("PINS", ", ".join(pins))
    text = text.replace("CONNECTED", ", ".join(f".{pin}({pin})" for pin in pins))
    for name, width in (("BA", 2), ("DQM", 2), ("DQ", 16), ("A", 13)):
        bits = ", ".join(f"sdram_{name.lower()}{bit}" for bit in reversed(range(width)))
        text = text.replace(f"{{{name}}}", f"{{{bits}}}")
    (tmp_path / "bench.v").write_text(text)
    contents = [(k * 40503 + 7) & 0xFFFF for k in range(1 << 11)]
    (tmp_path / "sdram.hex").write_text("".join(f"{word:04x}\n" for word in contents))
    verilator = tools.find("verilator")
    simulator = binary(verilator, [*(f"-Wno-{name}" for name in (*WARNINGS, "BLKSEQ")), "bench.v",
                                   *map(str, gates), str(CHIP)], tmp_path)  # fmt: skip
    program = tools.Tool("simulation", (str(simulator),), "", verilator.kind)
    lines = []
    log = tmp_path / "simulation.log"
    tools.run(program, ["+SDRAM=sdram.hex"], cwd=tmp_path, log=log, on_line=lines.append)
    words = [int(line.split()[1]) for line in lines if line.startswith("WORD")]
    assert len(words) == 3000
    assert (words == [contents[5 + k % 1000] for k in range(3000)]) == right
