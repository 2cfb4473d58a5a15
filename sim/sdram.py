"""SDRAM controllers on the strict chip model: commands in, cycles and words out."""

import dataclasses
import math
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from hwbnn import tools
from hwbnn.cache import default_folder, digest
from hwbnn.emit import PRIMITIVES, VERILOG, Emitted, emit, verilog_for_sim
from rtl_gen.sdram.timing import SdramPart

from .verilator import binary

__all__ = ["CHIP", "SdramBench", "Setup", "chip_timing"]

CHIP = Path(__file__).parent / "cells" / "sdr_sdram.v"
WARNINGS = ("WIDTHEXPAND", "WIDTHTRUNC", "CASEINCOMPLETE", "BLKSEQ", "INITIALDLY")


@dataclasses.dataclass(frozen=True)
class Setup:
    """A controller and the chip it is connected to.

    ``part`` is what the chip insists on, whatever the controller was made for; ``inverted`` gives
    the chip the inverse of the clock; ``board_delay`` (0 or 1) are more cycles on the way of read
    data. ``n_words`` is the part of the array that is simulated.
    """

    controller: object
    part: SdramPart
    clk_hz: int
    inverted: bool = False
    board_delay: int = 0
    n_words: int = 1 << 18

    @property
    def chip(self) -> tuple[tuple[str, int], ...]:
        """Parameters of the chip that a simulation cannot change."""
        part = self.part
        return (("ROW_BITS", part.row_bits), ("COLUMN_BITS", part.column_bits),
                ("BANK_BITS", part.bank_bits), ("CAS_LATENCY", part.cas_latency),
                ("INIT_REFRESHES", part.init_refreshes), ("WORDS", self.n_words))  # fmt: skip


def chip_timing(part: SdramPart, clk_hz: int | Fraction) -> dict[str, int]:
    """Timing parameters of ``sdr_sdram`` (or plusargs of a run) for a part at a clock, in fs."""
    period = math.ceil(Fraction(10**15) / Fraction(clk_hz))
    clocks = dict(part.min_clocks)
    names = ("rcd", "rp", "rc", "ras", "ras_max", "rrd", "wr", "rfc", "mrd")
    ns = {name: getattr(part, f"t_{name}") for name in names}
    ns |= {"refi": part.refresh_ns, "power_up": part.power_up_ns}
    least = {name: max(round(t * 10**6), clocks.get(name, 0) * period) for name, t in ns.items()}
    return {"T_CK": period, **{f"T_{name.upper()}": t for name, t in least.items()}}


class SdramBench:
    """A Verilator build of several setups, of which a run chooses one. Kept in the cache.

    Parameters
    ----------
    setups : dict of name to Setup
        Each controller is built once, and a chip for each geometry.
    folder : Path, optional
        Of the cache.

    Raises
    ------
    ToolError
        Verilator or yosys is missing or fails.
    """

    def __init__(self, setups: dict[str, Setup], folder: Path | None = None):
        self._setups = dict(setups)
        controllers = {id(s.controller): s.controller for s in setups.values()}
        self._controllers = list(controllers)
        self._chips = list(dict.fromkeys(s.chip for s in setups.values()))
        modules = {}
        for k, controller in enumerate(controllers.values()):
            modules |= emit(controller, f"controller{k}").modules
        self._tool = tools.find("verilator")
        self._build = _build(modules, self._bench(), self._tool, folder or default_folder())

    def _bench(self) -> str:
        n = len(self._controllers)
        text = BENCH.replace("N_CONTROLLERS", str(n)).replace("N_CHIPS", str(len(self._chips)))
        controllers = {id(s.controller): s.controller for s in self._setups.values()}
        for k, controller in enumerate(controllers.values()):
            moves, none = (MOVES, "") if controller.moves else ("", NO_MOVES)
            text += (CONTROLLER + none).replace("MOVES", moves).replace("NUMBER", str(k))
        for k, chip in enumerate(self._chips):
            settings = ", ".join(f".{name}({value})" for name, value in chip)
            text += CHIP_INSTANCE.replace("NUMBER", str(k)).replace("SETTINGS", settings)
        return text + "endmodule\n"

    def run(
        self, name: str, script: Iterable[str], contents: Iterable[int] | None = None
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Run a script on one setup; return the cycles of starts and (cycle, word) of words taken.

        Lines of the script: ``ready`` waits for the end of power-up; ``read base words`` and
        ``write base`` start; ``put word gap`` writes a word after ``gap`` cycles without one;
        ``take count gap`` takes words, each after ``gap`` cycles without ready; ``idle cycles``;
        ``move write base bursts`` moves a sequence of words to the memory, or words from it, and
        ``moved`` has (kind, cycle, word) of them: V a word read, M the end. ``contents`` are the
        chip's words from address 0 on.

        Raises
        ------
        ToolError
            The chip objects (the message names the rule), or no word comes for a long time.
        """
        setup = self._setups[name]
        arguments = [
            f"+CONTROLLER={self._controllers.index(id(setup.controller))}",
            f"+CHIP={self._chips.index(setup.chip)}",
            f"+INVERTED={int(setup.inverted)}",
            f"+DELAY={setup.board_delay}",
            *(f"+{key}={value}" for key, value in chip_timing(setup.part, setup.clk_hz).items()),
        ]
        command = (str(self._build / "obj" / "Vbench"),)
        program = tools.Tool("SDRAM simulation", command, self._tool.version, self._tool.kind)
        with tempfile.TemporaryDirectory(prefix="sdram-") as scratch:
            folder = Path(scratch)
            (folder / "script.txt").write_text("\n".join(script) + "\n")
            if contents is not None:
                (folder / "sdram.hex").write_text("".join(f"{word:04x}\n" for word in contents))
                arguments.append("+SDRAM=sdram.hex")
            tools.run(program, arguments, cwd=folder, log=folder / "simulation.log")
            lines = (folder / "words.txt").read_text().splitlines()
        starts, words = [], []
        self.moved: list[tuple[str, int, int]] = []
        for line in lines:
            kind, cycle, word = line.split()
            if kind == "S":
                starts.append(int(cycle))
            elif kind == "W":
                words.append((int(cycle), int(word)))
            else:
                self.moved.append((kind, int(cycle), int(word)))
        return starts, words


def _build(modules: dict[str, str], bench: str, tool: tools.Tool, cache: Path) -> Path:
    """The folder of the simulator, built or found."""
    flags = [f"-Wno-{name}" for name in WARNINGS]
    primitives = [(VERILOG / name).read_text() for name in PRIMITIVES]
    key = digest(bench, *modules.values(), CHIP.read_text(), *primitives, *flags, str(tool))
    target = cache / "simulators" / f"sdram-{key[:32]}"
    if (target / "obj" / "Vbench").exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        work = Path(scratch) / "build"
        sources = verilog_for_sim(Emitted("controllers", modules, {}, {}), work)
        (work / "bench.v").write_text(bench)
        files = ["bench.v", *(path.name for path in sources), str(CHIP)]
        binary(tool, [*flags, *files], work)
        try:
            work.rename(target)
        except OSError:  # another process was faster
            if not target.exists():
                raise
    return target


BENCH = r"""`timescale 1ps / 1ps
module bench;
    reg clk = 0, inverted = 0;
    integer controller = 0, chip = 0, delay = 0;
    integer cycle = 0, idle_for = 0;
    reg start = 0, write_start = 0, take = 0, put = 0, move = 0, move_write = 0;
    reg [31:0] move_base = 0, move_bursts = 0;
    reg [15:0] move_word = 1;  // what is moved to the memory: a sequence
    wire [N_CONTROLLERS-1:0] moveds, move_nexts, move_valids;
    wire [15:0] move_words [0:N_CONTROLLERS-1];
    reg [31:0] base = 0, words = 0;
    reg [15:0] word = 0;
    wire [N_CONTROLLERS-1:0] valids, put_readies, readies;
    wire [15:0] payloads [0:N_CONTROLLERS-1];
    wire [38:0] pins [0:N_CONTROLLERS-1];
    wire [15:0] from_chips [0:N_CHIPS-1];
    wire valid = valids[controller], ready = readies[controller];
    wire put_ready = put_readies[controller];
    wire [15:0] payload = payloads[controller];
    wire cke, cs_n, ras_n, cas_n, we_n, dq_en;
    wire [1:0] ba, dqm;
    wire [12:0] a;
    wire [15:0] dq, from_chip = from_chips[chip];
    assign {cke, cs_n, ras_n, cas_n, we_n, ba, a, dqm, dq, dq_en} = pins[controller];
    reg [15:0] late = 0;
    always @(posedge clk) late <= from_chip;
    wire [15:0] arriving = delay == 0 ? from_chip : late;

    always #5000 clk = ~clk;
    always @(posedge clk)
        if (move_nexts[controller]) move_word <= move_word * 16'd25173 + 16'd13849;
    always @(negedge clk) if (move_valids[controller])
        $fwrite(log, "V %0d %0d\n", cycle, move_words[controller]);
    always @(posedge clk) begin
        cycle <= cycle + 1;
        idle_for <= (take && !valid) || (put && !put_ready) ? idle_for + 1 : 0;
        if (idle_for > 100000) $fatal(1, "nothing for 100000 cycles");
    end

    integer script, log, n, gap, i;
    string op;
    initial begin
        void'($value$plusargs("CONTROLLER=%d", controller));
        void'($value$plusargs("CHIP=%d", chip));
        void'($value$plusargs("INVERTED=%d", inverted));
        void'($value$plusargs("DELAY=%d", delay));
        script = $fopen("script.txt", "r");
        log = $fopen("words.txt", "w");
        @(negedge clk);
        while ($fscanf(script, "%s", op) == 1) case (op)
            "ready": while (!ready) @(negedge clk);
            "read": begin
                void'($fscanf(script, "%d %d", base, words));
                $fwrite(log, "S %0d 0\n", cycle);
                start = 1; @(negedge clk); start = 0;
            end
            "write": begin
                void'($fscanf(script, "%d", base));
                $fwrite(log, "S %0d 0\n", cycle);
                write_start = 1; @(negedge clk); write_start = 0;
            end
            "put": begin
                void'($fscanf(script, "%d %d", word, gap));
                repeat (gap) @(negedge clk);
                put = 1;
                while (!put_ready) @(negedge clk);
                @(negedge clk); put = 0;
            end
            "take": begin
                void'($fscanf(script, "%d %d", n, gap));
                for (i = 0; i < n; i = i + 1) begin
                    repeat (gap) @(negedge clk);
                    take = 1;
                    while (!valid) @(negedge clk);
                    $fwrite(log, "W %0d %0d\n", cycle, payload);
                    @(negedge clk); take = 0;
                end
            end
            "move": begin
                void'($fscanf(script, "%d %d %d", move_write, move_base, move_bursts));
                $fwrite(log, "S %0d 0\n", cycle);
                move = 1;
                while (!moveds[controller]) @(negedge clk);
                $fwrite(log, "M %0d 0\n", cycle);
                @(negedge clk); move = 0;
            end
            "idle": begin
                void'($fscanf(script, "%d", n));
                repeat (n) @(negedge clk);
            end
            default: $fatal(1, "no such operation");
        endcase
        $fclose(log);
        $finish;
    end
"""
CONTROLLER = """
    wire clk_NUMBER = clk && controller == NUMBER;
    wire [38:0] pins_NUMBER;
    controllerNUMBER controller_NUMBER (
        .clk(clk_NUMBER), .rst(1'b0), .i_start(start), .i_base(base), .i_words(words),
        .o__valid(valids[NUMBER]), .o__ready(take), .o__payload(payloads[NUMBER]),
        .i_write_start(write_start), .i_write_base(base), .i_write__valid(put),
        .i_write__payload(word), .i_write__ready(put_readies[NUMBER]), .o_ready(readies[NUMBER]),
        MOVES.o_cke(pins_NUMBER[38]), .o_cs_n(pins_NUMBER[37]), .o_ras_n(pins_NUMBER[36]),
        .o_cas_n(pins_NUMBER[35]), .o_we_n(pins_NUMBER[34]), .o_ba(pins_NUMBER[33:32]),
        .o_a(pins_NUMBER[31:19]), .o_dqm(pins_NUMBER[18:17]), .o_dq(pins_NUMBER[16:1]),
        .o_dq_en(pins_NUMBER[0]), .i_dq(arriving)
    );
    assign pins[NUMBER] = pins_NUMBER;
"""
MOVES = """.i_move(move), .i_move_write(move_write), .i_move_base(move_base),
        .i_move_bursts(move_bursts), .i_move_data(move_word), .o_move_next(move_nexts[NUMBER]),
        .o_move_valid(move_valids[NUMBER]), .o_move_data(move_words[NUMBER]),
        .o_moved(moveds[NUMBER]),
        """
NO_MOVES = """    assign {moveds[NUMBER], move_nexts[NUMBER], move_valids[NUMBER]} = 3'b000;
"""
CHIP_INSTANCE = """
    wire chip_clk_NUMBER = (clk ^ inverted) && chip == NUMBER;
    wire drives_NUMBER;
    sdr_sdram #(SETTINGS) chip_NUMBER (
        .clk(chip_clk_NUMBER), .cke(cke), .cs_n(cs_n), .ras_n(ras_n), .cas_n(cas_n), .we_n(we_n),
        .ba(ba), .a(a), .dqm(dqm), .dq_i(dq), .dq_i_en(dq_en), .dq_o(from_chips[NUMBER]),
        .dq_o_en(drives_NUMBER)
    );
"""
