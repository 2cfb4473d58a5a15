"""A whole board in simulation, as its host sees it: serial line, PLL, host link, engine."""

import json
from collections.abc import Sequence
from pathlib import Path

from cocotb_tools.runner import get_results

from boards import Board
from hwbnn import tools
from hwbnn.emit import Emitted, verilog_for_sim
from hwbnn.errors import ToolError
from rtl_gen.host_link import NEXT
from rtl_gen.sdram.pin_timing import PadTiming
from rtl_gen.sdram.timing import SdramPart

from .netlist import CELLS, WARNINGS
from .sdram import CHIP, chip_timing
from .verilator import Runner, environment

__all__ = ["board_sources", "build", "converse", "corner", "talk", "with_chip"]

CHIP_WORDS = 1 << 16  # of the chip's array that is simulated
CHIP_TOP = """`timescale 1ps / 1ps
module with_chip (
    input clk25, input reset, input uart_rx, output uart_tx, output wifi_gpio0,
    output led0, output led1, output led2
);
    wire PINS;
    wire drives;
    wire [15:0] from_chip;
    reg half_driven = 0, driven = 0;
    reg [15:0] half_way, arriving;
    integer half_ps;
    initial if (!$value$plusargs("HALF_WAY_PS=%d", half_ps)) half_ps = DELAY;
    DESIGN board (
        .clk25(clk25), .reset(reset), .uart_rx(uart_rx), .uart_tx(uart_tx),
        .wifi_gpio0(wifi_gpio0), .led0(led0), .led1(led1), .led2(led2), CONNECTED
    );
    sdr_sdram #(SETTINGS) chip (
        .clk(sdram_clk), .cke(sdram_cke), .cs_n(sdram_cs_n), .ras_n(sdram_ras_n),
        .cas_n(sdram_cas_n), .we_n(sdram_we_n), .ba({BA}), .a({A}), .dqm({DQM}), .dq_i({DQ}),
        .dq_i_en(sdram_ras_n & ~sdram_cas_n & ~sdram_we_n), .dq_o(from_chip), .dq_o_en(drives)
    );
    // from the chip's clock at the FPGA to its data at the input registers: more than a cycle, and
    // the simulator drops what changes again within a delay
    always @({drives, from_chip}) {half_driven, half_way} <= #half_ps {drives, from_chip};
    always @({half_driven, half_way}) {driven, arriving} <= #half_ps {half_driven, half_way};
    assign {DQ} = driven ? arriving : 16'bz;
endmodule
"""


def board_sources(emitted: Emitted, out_dir: Path) -> tuple[Path, ...]:
    """Verilog of a ``board_design`` before synthesis, with models of its PLL and pads."""
    cells = [CELLS / "EHXPLLL.v"]
    if "SCLK" in emitted.modules[emitted.top]:
        cells += [CELLS / "pads.v", CELLS / "ODDRX1F.v"]
    return (*verilog_for_sim(emitted, out_dir), *cells)


def with_chip(
    design: str, out_dir: Path, *, board: Board, part: SdramPart, clk_hz
) -> tuple[Path, ...]:
    """Verilog of a top ``with_chip``: the board's design and the strict SDRAM chip at its pins.

    Read data comes as late as data sheets allow (``PadTiming``), or as ``corner`` says; everything
    else takes no time.
    """
    pins = [pin.port for pin in board.pins if pin.port.startswith("sdram_")]
    settings = {"ROW_BITS": part.row_bits, "COLUMN_BITS": part.column_bits,
                "BANK_BITS": part.bank_bits, "WORDS": CHIP_WORDS} | chip_timing(part, clk_hz)
    text = CHIP_TOP.replace("DESIGN", design).replace("PINS", ", ".join(pins))
    text = text.replace("CONNECTED", ", ".join(f".{pin}({pin})" for pin in pins))
    text = text.replace("SETTINGS", ", ".join(f".{k}(64'd{v})" if v >= 1 << 31 else f".{k}({v})"
                                              for k, v in settings.items()))
    text = text.replace("DELAY", str(round(500 * (part.t_ac + PadTiming().loop_max))))
    for name, width in (("BA", 2), ("DQM", 2), ("DQ", 16), ("A", 13)):
        bits = ", ".join(f"sdram_{name.lower()}{bit}" for bit in reversed(range(width)))
        text = text.replace(f"{{{name}}}", f"{{{bits}}}")
    out_dir.mkdir(parents=True, exist_ok=True)
    top = out_dir / "with_chip.v"
    top.write_text(text)
    return top, CHIP


def build(sources: Sequence[Path], toplevel: str, out_dir: Path) -> None:
    """Compile a board for ``converse``. Raises ToolError when that fails."""
    out_dir = out_dir.resolve()
    out_dir.mkdir(parents=True, exist_ok=True)
    # the wheel's makefile lacks the flag for coroutines; of all signals the ports will do
    arguments = ["--timing", "-CFLAGS", "-std=gnu++20", "--public-depth", "1"]
    arguments += [f"-Wno-{name}" for name in (*WARNINGS, "ASCRANGE")]
    tool = tools.find("verilator")
    with environment(tool):
        runner = Runner(tool, quick=True)
        try:
            runner.build(
                sources=[file.resolve() for file in sources],
                hdl_toplevel=toplevel,
                build_dir=out_dir / "obj",
                build_args=arguments,
                timescale=("1ps", "1ps"),
                always=True,
                log_file=out_dir / "build.log",
            )
        except (SystemExit, RuntimeError) as error:
            raise ToolError(
                "the board does not build", where="verilator", hint=f"see {out_dir / 'build.log'}"
            ) from error


def corner(part: SdramPart, *, late: bool, phase: int | None = None) -> tuple[str, ...]:
    """Plusargs of ``converse`` for a board with chip: when read data comes, and the chip's clock.

    ``late`` takes the latest time at which a word may come, otherwise the earliest at which the one
    before it may go. ``phase``, in eighths of a VCO period, stands in for the PLL's.
    """
    pads = PadTiming()
    delay = part.t_ac + pads.loop_max if late else part.t_oh + pads.loop_min
    shift = () if phase is None else (f"+CLKOS2_LATE={phase}",)
    return (f"+HALF_WAY_PS={round(500 * delay)}", *shift)


def converse(
    toplevel: str,
    frames: Sequence[bytes | Sequence[bytes]],
    *,
    board: Board,
    out_dir: Path,
    baud: int | None = None,
    images: Path | None = None,
    plusargs: Sequence[str] = (),
) -> list[bytes]:
    """Send ``frames`` one after another through the serial line; return the answer to each.

    A frame in pieces is sent as ``hwbnn.host_protocol.pieces`` says. ``out_dir`` is that of
    ``build``, ``images`` the folder of memory contents (``write_images``); a netlist has its own.

    Raises
    ------
    ToolError
        A frame gets no whole answer.
    """
    out_dir = out_dir.resolve()
    rate = baud or board.baud
    (out_dir / "answers.json").unlink(missing_ok=True)
    request = {
        "frames": [[piece.hex() for piece in ([frame] if isinstance(frame, bytes) else frame)]
                   for frame in frames],
        "next": NEXT,
        "bit_ps": round(1e12 / rate),
        "clock_ps": round(1e12 / board.clock_hz),
    }
    (out_dir / "requests.json").write_text(json.dumps(request))
    tool = tools.find("verilator")
    with environment(tool):
        results = Runner(tool).test(
            test_module="sim.board_bench",
            hdl_toplevel=toplevel,
            hdl_toplevel_lang="verilog",
            build_dir=out_dir / "obj",
            test_dir=out_dir,
            extra_env={"HWBNN_BOARD": str(out_dir)},
            plusargs=[*plusargs, *([f"+IMAGES={images.resolve()}"] if images else [])],
            log_file=out_dir / "simulation.log",
        )
    n_tests, n_failed = get_results(results)
    if (n_tests, n_failed) != (1, 0):
        raise ToolError(
            "the board does not answer", where=toplevel, hint=f"see {out_dir / 'simulation.log'}"
        )
    return [bytes.fromhex(text) for text in json.loads((out_dir / "answers.json").read_text())]


def talk(
    sources: Sequence[Path], toplevel: str, frames: Sequence[bytes | Sequence[bytes]], *,
    out_dir: Path, **others,
) -> list[bytes]:
    """Build a board and send it frames: `build`, then `converse`, whose options ``others`` are."""
    build(sources, toplevel, out_dir)
    return converse(toplevel, frames, out_dir=out_dir, **others)
