"""The Verilog top that joins a streaming accelerator to the strict SDRAM chip."""

from pathlib import Path

from hwbnn.emit import emit, verilog_for_sim
from rtl_gen.engine.accelerator import Accelerator
from rtl_gen.engine.config import EngineConfig
from rtl_gen.sdram.timing import part_of

from .sdram import CHIP, chip_timing

__all__ = ["accelerator_sources", "bench_files"]

CHIP_HZ = 100_000_000  # clock that its rules are counted at

# named as the engine's own simulations are; ports in the same names
TOP = """
module engine (
    input clk, input rst,
    input i_pixel__valid, input [23:0] i_pixel__payload, output i_pixel__ready,
    input [ADDRESS_BITS:0] i_words, input [LOGIT_ADDR-1:0] i_logit_addr,
    output signed [LOGIT-1:0] o_logit,
    output o_frame, output o_step_done, output o_done, output [15:0] o_class, output [31:0] o_cycles
);
    wire cke, cs_n, ras_n, cas_n, we_n, dq_en, chip_en;
    wire [1:0] ba, dqm;
    wire [12:0] a;
    wire [15:0] dq, chip_dq;
    accelerator accelerator (
        .clk(clk), .rst(rst), .i_go(1'b1), .i_base(0), .i_words(i_words),
        .i_write_start(1'b0), .i_write_base(0), .i_write__valid(1'b0), .i_write__payload(16'd0),
        .i_write__ready(), .i_check(1'b0), .o_checked(), .o_crc(), .o_ready(), .o_running(),
        .i_pixel__valid(i_pixel__valid), .i_pixel__payload(i_pixel__payload),
        .i_pixel__ready(i_pixel__ready), .i_logit_addr(i_logit_addr), .o_logit(o_logit),
        .o_frame(o_frame), .o_step_done(o_step_done), .o_done(o_done), .o_class(o_class),
        .o_cycles(o_cycles),
        .o_cke(cke), .o_cs_n(cs_n), .o_ras_n(ras_n), .o_cas_n(cas_n), .o_we_n(we_n), .o_ba(ba),
        .o_a(a), .o_dqm(dqm), .o_dq(dq), .o_dq_en(dq_en), .i_dq(chip_dq)
    );
    sdr_sdram #(CHIP_SETTINGS) chip (
        .clk(clk), .cke(cke), .cs_n(cs_n), .ras_n(ras_n), .cas_n(cas_n), .we_n(we_n), .ba(ba),
        .a(a), .dqm(dqm), .dq_i(dq), .dq_i_en(dq_en), .dq_o(chip_dq), .dq_o_en(chip_en)
    );
endmodule
"""


def accelerator_sources(config: EngineConfig, out_dir: Path) -> tuple[Path, ...]:
    """Verilog files of ``Accelerator`` and chip below a top named ``engine``."""
    design = emit(Accelerator(config, part_of(config.sdram_mb)), "accelerator")
    return (*bench_files(config, out_dir), *verilog_for_sim(design, out_dir))


def bench_files(config: EngineConfig, out_dir: Path) -> tuple[Path, ...]:
    """What stands around ``accelerator`` in simulation: the top, and a copy of the chip."""
    part = part_of(config.sdram_mb)
    settings = {"ROW_BITS": part.row_bits, "COLUMN_BITS": part.column_bits,
                "BANK_BITS": part.bank_bits} | chip_timing(part, CHIP_HZ)
    text = TOP
    for word, value in (
        ("CHIP_SETTINGS", ", ".join(f".{k}({_sized(v)})" for k, v in settings.items())),
        ("ADDRESS_BITS", part.address_bits),
        ("LOGIT_ADDR", (config.logit_depth - 1).bit_length()),
        ("LOGIT", config.feature_bits),
    ):
        text = text.replace(word, str(value))
    top, chip = out_dir / "engine.v", out_dir / CHIP.name
    top.write_text(text)
    chip.write_bytes(CHIP.read_bytes())
    return top, chip


def _sized(value: int) -> str:
    return f"64'd{value}" if value >= 1 << 31 else str(value)
