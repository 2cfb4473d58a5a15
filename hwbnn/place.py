"""Floorplan, nextpnr-ecp5 and ecppack: a netlist on a board, its timing, its bitstream."""

import dataclasses
import json
import re
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from boards import Board
from rtl_gen.pll import PllSetting

from . import tools
from .cache import Cache, digest
from .errors import DoesNotFit, ToolError, UserError
from .floorplan import floorplan
from .global_nets import promote
from .placements import at_once, fastest
from .synth import Netlist, Progress
from .tools import Stage

# Blocks that limit the clock beyond what nextpnr knows: their name in a board's caps and budget.
CAPPED = {"DP16KD": "ebr", "MULT18X18D": "dsp"}


@dataclasses.dataclass(frozen=True)
class Clock:
    """Timing of one clock after routing, in MHz: reached and asked for."""

    net: str
    achieved_mhz: float
    constraint_mhz: float

    @property
    def met(self) -> bool:
        return self.achieved_mhz >= self.constraint_mhz


@dataclasses.dataclass(frozen=True)
class Routed:
    """A placed and routed design.

    ``config`` is the device's configuration as text (None out of context), ``used`` maps a
    resource to (used, available) as nextpnr counts them, ``key`` is the digest of all that went in.
    ``stages`` are the floorplan, if there was one, and nextpnr's runs. ``seed`` is the placement
    that was routed, ``expected_mhz`` has nextpnr's estimate of each that was tried, by its seed.
    """

    config: Path | None
    clocks: tuple[Clock, ...]
    used: dict[str, tuple[int, int]]
    stages: tuple[Stage, ...]
    key: str
    seed: int
    expected_mhz: dict[int, float]


def lpf(board: Board, ports: Iterable[str]) -> str:
    """Pin and clock constraints for the top's ``ports``.

    Raises
    ------
    UserError
        The board has no pin for a port.
    """
    lines = []
    for port in ports:
        try:
            pin = board.pin(port)
        except LookupError as error:
            raise UserError(str(error), where="board") from None
        attrs = " ".join(f"{key}={value}" for key, value in pin.attrs)
        lines += [f'LOCATE COMP "{port}" SITE "{pin.site}";', f'IOBUF PORT "{port}" {attrs};']
        if port == "clk25":
            lines.append(f'FREQUENCY PORT "{port}" {board.clock_hz} HZ;')
    return "\n".join(lines) + "\n"


def place_and_route(
    netlist: Netlist,
    board: Board,
    out_dir: Path,
    *,
    cache: Cache,
    seed: int = 1,
    placements: int = 1,
    freq_mhz: float | None = None,
    out_of_context: bool = False,
    progress: Progress = lambda line: None,
) -> Routed:
    """Place and route ``netlist`` into ``out_dir``: ``design.config``, ``timing.json``, a log.

    ``floorplan.json`` has the site of every multiplier and block RAM that was given one beforehand.
    Of ``placements`` seeds from ``seed`` on the one that promises most is routed (see
    ``hwbnn.placements``); each has a log. Clocks that come from ``clk25`` are constrained through
    the PLL's dividers; ``freq_mhz`` is the constraint of every other one. Missed constraints are
    reported in ``clocks``, not raised.
    ``out_of_context`` needs no pins and gives area and timing of a part, not a usable bitstream.

    Raises
    ------
    DoesNotFit
        The device has too few of some block, or of LUTs.
    ToolError
        nextpnr is missing, or failed.
    UserError
        The board has no pin for one of the top's ports.
    """
    nextpnr = tools.find("nextpnr-ecp5")
    _check_blocks(netlist, board)
    constraints = "" if out_of_context else lpf(board, netlist.ports)
    # router2 ignores timing (detours of 9 ns on short nets).
    options = [*board.nextpnr, "--placer", "heap", "--router", "router1"]
    options += ["--freq", f"{freq_mhz:g}"] if freq_mhz else []
    options += ["--out-of-context", "--lpf-allow-unconstrained"] if out_of_context else []
    seeds = range(seed, seed + placements)
    key = digest("route", netlist.key, str(nextpnr), constraints, *options, str(seeds),
                 *_sources())
    made = {"timing.json": "--report"}
    options += ["--json", "design.json", "--timing-allow-fail"]
    if not out_of_context:
        made["design.config"] = "--textcfg"
        options += ["--lpf", "design.lpf"]
    files = [*made, "floorplan.json"]
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".route-") as name:
        work = Path(name)
        notes = cache.get(key, work)
        cached = notes is not None
        if cached:
            progress("place and route: kept from an earlier build")
        else:
            (work / "design.json").write_bytes(netlist.json.read_bytes())
            (work / "design.lpf").write_text(constraints)
            try:
                for name, ends in ({} if out_of_context else promote(work / "design.json")).items():
                    progress(f"{ends:,} resets are global: {name.lstrip('$')}")
                planned = floorplan(work / "design.json", board, cache=cache, seed=seed,
                                    progress=progress)
                sites, stages = ({}, []) if planned is None else (planned[0], [planned[1]])
                (work / "floorplan.json").write_text(json.dumps(sites, indent=0) + "\n")
                progress("place and route")
                last, notes = _routed(nextpnr, options, seeds, work, out_dir, made, progress)
            except ToolError as error:
                if "no BELs remaining" in error.what:
                    raise DoesNotFit(error.what, where=board.name, hint=error.hint) from None
                raise
            notes["stages"] = [dataclasses.asdict(stage) for stage in (*stages, last)]
            cache.put(key, [work / file for file in files], notes)
        for file in files:
            (work / file).replace(out_dir / file)
    report = json.loads((out_dir / "timing.json").read_text())
    return Routed(
        None if out_of_context else out_dir / "design.config",
        tuple(Clock(n, c["achieved"], c["constraint"]) for n, c in report["fmax"].items()),
        {kind: (u["used"], u["available"]) for kind, u in report["utilization"].items()},
        tuple(Stage(**stage | {"cached": cached}) for stage in notes["stages"]),
        key,
        notes["seed"],
        {int(seed): mhz for seed, mhz in notes["expected_mhz"].items()},
    )


def _routed(nextpnr, options, seeds, work: Path, out_dir: Path, made, progress):
    """Run nextpnr on the netlist in ``work``; the files ``made`` (of options) come there, too.

    Returns the stage, and the seed and expectations as ``Routed`` has them.
    """
    start = time.monotonic()
    several = len(seeds) > 1
    log = out_dir / "place-and-route.log"

    def log_of(seed):
        return log.with_name(f"place-seed-{seed}.log") if several else log

    def run(seed, on_line):
        narrate = _Narrator(progress, f"seed {seed}: " if several else "")

        def both(line):
            on_line(line)
            narrate(line)

        outputs = [word for file, option in made.items() for word in (option, f"{seed}-{file}")]
        return tools.run(nextpnr, ["--seed", str(seed), *options, *outputs], cwd=work,
                         log=log_of(seed), on_line=both)

    seed, usage, expected = fastest(run, seeds, beside=at_once() if several else 1,
                                    progress=progress)
    for file in made:
        (work / f"{seed}-{file}").replace(work / file)
    log_of(seed).replace(log)
    stage = Stage("place and route", str(nextpnr), time.monotonic() - start, usage.peak_bytes,
                  False)
    return stage, {"seed": seed, "expected_mhz": expected}


def _sources() -> list[bytes]:
    """The text of what changes the netlist here: another method gives another result."""
    here = Path(__file__)
    names = ("global_nets.py", "placements.py", "yosys_json.py")
    files = [here.with_name(name) for name in names]
    files += sorted(here.with_name("floorplan").glob("*.py"))
    return [file.read_bytes() for file in files]


def _check_blocks(netlist: Netlist, board: Board) -> None:
    for cell, name in CAPPED.items():
        used, available = netlist.cells.get(cell, 0), getattr(board.budget, name)
        if used > available:
            raise DoesNotFit(
                f"{used} {cell} of {available}", where=board.name, hint="take a smaller plan"
            )


def cap_mhz(board: Board, used: dict[str, tuple[int, int]]) -> tuple[float, str]:
    """The clock that the data sheet allows a design of these blocks, and what limits it."""
    limits = [(board.caps.clock_tree, "clock tree")]
    for kind, name in CAPPED.items():
        if used.get(kind, (0, 0))[0]:
            limits.append((getattr(board.caps, name), kind))
    return min(limits)


def retune(config: str, setting: PllSetting) -> str:
    """A routed configuration with other PLL dividers; nothing else in it depends on them.

    Raises
    ------
    ValueError
        ``config`` has no PLL, or several.
    """
    words = {
        "CLKI_DIV": setting.clki,
        "CLKFB_DIV": setting.clkfb,
        "CLKOP_DIV": setting.clkop,
        "CLKOP_CPHASE": setting.clkop,
        "CLKOS_DIV": setting.clkos,
        "CLKOS_CPHASE": setting.clkos,
    }
    bits = {word: f"{value - 1:07b}" for word, value in words.items()}
    if setting.late:
        cphase, fphase = setting.late_phase
        bits |= {"CLKOS2_DIV": f"{setting.clkos - 1:07b}", "CLKOS2_CPHASE": f"{cphase:07b}",
                 "CLKOS2_FPHASE": f"{fphase:03b}"}
    for word, value in bits.items():
        config, n = re.subn(rf"^word: {word} [01]+$", f"word: {word} {value}", config, flags=re.M)
        if n != 1:
            raise ValueError(f"The configuration has {n} words {word}; one PLL would have 1")
    return config


def pack(config: str, board: Board, bitstream: Path, *, log: Path) -> Stage:
    """Turn a configuration into the file ``bitstream``, which appears when it is complete.

    Raises
    ------
    ToolError
        ecppack is missing or failed.
    """
    ecppack = tools.find("ecppack")
    options = ["--compress"] + (["--idcode", board.idcode] if board.idcode else [])
    with tempfile.TemporaryDirectory(dir=bitstream.parent, prefix=".pack-") as name:
        work = Path(name)
        (work / "design.config").write_text(config)
        usage = tools.run(
            ecppack, [*options, "--input", "design.config", "--bit", "design.bit"],
            cwd=work, log=log,
        )  # fmt: skip
        (work / "design.bit").replace(bitstream)
    return Stage("pack", str(ecppack), usage.seconds, usage.peak_bytes, False)


class _Narrator:
    """Picks out of nextpnr's log what a waiting user wants to see."""

    SHOWN = (
        (re.compile(r"Packing (.+)"), "packing {}"),
        (re.compile(r"at iteration #(\d+), type \w+: wirelen .*legal = (\d+)"),
         "placing, iteration {}, wire length {}"),
        (re.compile(r"at iteration #(\d+): temp.*wirelen = (\d+)"),
         "refining the placement, iteration {}, wire length {}"),
        (re.compile(r"Running (simulated annealing|main analytical) placer"), "placing, {}"),
        (re.compile(r"^Info:\s+(\d+) \|\s+\d+\s+\d+ \|.*\|\s+(\d+)\|"),
         "routing, {} arcs tried, {} left"),
        (re.compile(r"(Max frequency for clock .*)"), "{}"),
    )  # fmt: skip

    def __init__(self, progress: Progress, whose: str = ""):
        self._progress, self._whose = progress, whose

    def __call__(self, line: str) -> None:
        for pattern, text in self.SHOWN:
            match = pattern.search(line)
            if match:
                self._progress(self._whose + text.format(*match.groups()))
                return
