"""A design on a board: synthesis, place and route, clock, bitstream, and what each took."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import boards
from boards import Board
from rtl_gen.board_top import BoardTop, StreamingBoardTop
from rtl_gen.engine.accelerator import Accelerator
from rtl_gen.host_link import HostLink
from rtl_gen.pll import PllSetting, fastest_setting
from rtl_gen.weight_link import WeightLink

from .cache import Cache, digest
from .emit import Emitted, emit
from .errors import ToolError, UserError
from .place import Clock, Routed, cap_mhz, pack, place_and_route, retune
from .synth import Netlist, Progress, synthesise
from .tools import Stage

REPORT = "build.json"
BITSTREAM = "design.bit"
NETLIST = "design.json"


class TimingError(ToolError):
    """The routed design is slower than its clock; ``fmax_mhz`` is what it reached.

    ``fmax_mhz`` has the data sheet's caps in it; ``slower`` is the fastest PLL setting that the
    design meets, or None.
    """

    def __init__(self, what: str, *, where: str, fmax_mhz: float, slower: PllSetting | None):
        self.fmax_mhz, self.slower = fmax_mhz, slower
        hint = f"it would run at {slower.out_mhz:.4g} MHz" if slower else ""
        super().__init__(what, where=where, hint=hint)


@dataclasses.dataclass(frozen=True)
class BuildResult:
    """A finished build.

    ``clock_mhz`` is what the design runs at, ``fmax_mhz`` what its routing allows, ``cap_mhz`` and
    ``cap_by`` the data sheet's limit and the block it comes from. ``used`` maps a resource to
    (used, available) by nextpnr's count, ``cells`` counts yosys's cells. ``bitstream`` is None for
    a part built out of context. ``tools`` says which programs the results come from, native or
    wasm, with versions. ``seed`` is that of the placement that was routed, ``expected_mhz`` has
    nextpnr's estimate before routing of every one that was tried, by seed.
    """

    board: str
    part: str
    clock_mhz: float
    fmax_mhz: float
    cap_mhz: float
    cap_by: str
    clocks: tuple[Clock, ...]
    used: dict[str, tuple[int, int]]
    cells: dict[str, int]
    pll: PllSetting | None
    stages: tuple[Stage, ...]
    tools: tuple[str, ...]
    seed: int
    digest: str
    bitstream: str | None
    expected_mhz: dict[int, float]

    def save(self, folder: Path) -> None:
        """Write ``build.json``; it appears when it is complete, after everything it speaks of."""
        new = folder / f".{REPORT}.new"
        new.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")
        new.replace(folder / REPORT)


def load_result(folder: Path) -> BuildResult:
    """Read the ``build.json`` of a finished build.

    Raises
    ------
    UserError
        There is none.
    """
    try:
        raw = json.loads((folder / REPORT).read_text())
    except FileNotFoundError:
        raise UserError("no finished build", where=str(folder)) from None
    raw["clocks"] = tuple(Clock(**clock) for clock in raw["clocks"])
    raw["stages"] = tuple(Stage(**stage) for stage in raw["stages"])
    raw["used"] = {kind: tuple(pair) for kind, pair in raw["used"].items()}
    raw["tools"] = tuple(raw["tools"])
    raw["expected_mhz"] = {int(seed): mhz for seed, mhz in raw["expected_mhz"].items()}
    raw["pll"] = raw["pll"] and PllSetting(**raw["pll"])
    return BuildResult(**raw)


def get_board(name: str, device: str | None = None) -> Board:
    """``boards.get_board`` with a ``UserError`` for an unknown board."""
    try:
        return boards.get_board(name, device)
    except boards.UnknownBoard as error:
        raise UserError(str(error)) from None


def board_design(
    engine,
    *,
    board: Board,
    image: tuple[int, int, int],
    n_classes: int,
    identity: bytes,
    setting: PllSetting,
    baud: int | None = None,
    weight_words: int = 0,
    overlap: bool = False,
    batch: int = 1,
) -> Emitted:
    """An engine with clocks, serial port and host link, emitted under the name ``board_top``.

    Parameters
    ----------
    engine : Component
        See ``rtl_gen.board_top.BoardTop``; an ``Accelerator`` (see ``hwbnn.external.board_memory``)
        gets the board's SDRAM and a host link that fills it.
    image : (height, width, channels)
        What the host sends.
    identity : bytes
        Eight bytes the device answers IDENTIFY with: a digest of what it was built from.
    setting : PllSetting
        The clock to build for.
    baud : int, optional
        Bit rate; the board's fastest unless given.
    weight_words : int
        16-bit words of an Accelerator's weight image.
    overlap : bool
        The engine gives a frame's result while it works on the next one.
    batch : int
        Images that the engine works on at once, and that the host sends at once.
    """
    height, width, channels = image
    # On its own, the engine's netlist does not depend on identity, clock or bit rate.
    streams = isinstance(engine, Accelerator)
    engine.leaf_name = getattr(engine, "leaf_name", "accelerator" if streams else "engine")
    common = {"height": height, "width": width, "channels": channels, "n_classes": n_classes,
              "digest": identity, "overlap": overlap, "batch": batch}  # fmt: skip
    if streams:
        address_bits = len(engine.i_base)
        link = WeightLink(weight_words=weight_words, address_bits=address_bits, **common)
    else:
        link = HostLink(**common)
    kind = StreamingBoardTop if streams else BoardTop
    top = kind(engine=engine, host_link=link, setting=setting, baud=baud or board.baud)
    return emit(top, "board_top")


def build(
    emitted: Emitted,
    contents: Mapping[str, Iterable[int]],
    *,
    board: Board,
    out_dir: Path,
    setting: PllSetting,
    best_clock: bool = False,
    clock_range: tuple[float, float] = (0, math.inf),
    tune: Callable[[PllSetting], PllSetting] = lambda setting: setting,
    seed: int = 1,
    placements: int = 1,
    options: str = "",
    cache: Cache | None = None,
    progress: Progress = lambda line: None,
) -> BuildResult:
    """Build the bitstream of ``emitted``, whose PLL has ``setting``, into ``out_dir``.

    Files: ``design.bit`` and ``design.config``, ``timing.json``, ``netlist.v``, logs, and
    ``build.json``, which is written last.

    Parameters
    ----------
    contents : mapping of memory name to unsigned words
        See ``hwbnn.memory_files.memory_words``.
    best_clock : bool
        Take ``setting`` as a target: after routing, give the PLL the fastest setting that the
        routed design meets, above or below the target. Routing is not repeated; its delays do not
        depend on the clock. Without it, a design slower than ``setting`` is an error.
    clock_range : (float, float)
        MHz that the design works at; a slower clock is an error, a faster one is not taken.
    tune : callable
        Gives the clock that was chosen its phases.
    seed, placements : int
        Seed of the placer; of so many, counted from it, the most promising placement is routed.
    options : str
        For the top module's ``synth_ecp5``.
    cache : Cache, optional
        ``Cache()`` unless given.

    Raises
    ------
    TimingError
        The routed design is too slow.
    ToolError
        A tool is missing or failed; the design does not fit.
    UserError
        ``contents`` or the top's ports do not fit memories or board.
    """
    cache = Cache() if cache is None else cache
    out_dir.mkdir(parents=True, exist_ok=True)
    for file in (REPORT, BITSTREAM):
        (out_dir / file).unlink(missing_ok=True)
    netlist = synthesise(
        emitted, contents, out_dir, cache=cache, options=options, progress=progress
    )
    routed = place_and_route(netlist, board, out_dir, cache=cache, seed=seed,
                             placements=placements, progress=progress)
    fmax, final = _choose_clock(routed, board, setting, best_clock, clock_range)
    final = tune(final)
    progress(f"clock {final.out_mhz:.5g} MHz of {fmax:.5g} MHz reached")
    config = retune(routed.config.read_text(), final)
    routed.config.write_text(config)
    progress("pack")
    packing = pack(config, board, out_dir / BITSTREAM, log=out_dir / "pack.log")
    result = _result(board, netlist, routed, (packing,), final, fmax, BITSTREAM)
    result.save(out_dir)
    return result


def build_part(
    emitted: Emitted,
    contents: Mapping[str, Iterable[int]],
    *,
    board: Board,
    out_dir: Path,
    freq_mhz: float,
    seed: int = 1,
    options: str = "",
    cache: Cache | None = None,
    progress: Progress = lambda line: None,
) -> BuildResult:
    """Place and route a part on its own, ports unconnected: its area, and the clock it reaches.

    ``freq_mhz`` is what nextpnr aims at; missing it is no error. See ``build`` for the rest.
    """
    cache = Cache() if cache is None else cache
    out_dir.mkdir(parents=True, exist_ok=True)
    (out_dir / REPORT).unlink(missing_ok=True)
    netlist = synthesise(
        emitted, contents, out_dir, cache=cache, options=options, progress=progress
    )
    routed = place_and_route(
        netlist, board, out_dir, cache=cache, seed=seed, freq_mhz=freq_mhz, out_of_context=True,
        progress=progress,
    )  # fmt: skip
    reached = [clock.achieved_mhz for clock in routed.clocks]
    fmax = min([*reached, cap_mhz(board, routed.used)[0]])
    result = _result(board, netlist, routed, (), None, fmax, None)
    result.save(out_dir)
    return result


def _choose_clock(
    routed: Routed,
    board: Board,
    setting: PllSetting,
    best_clock: bool,
    clock_range: tuple[float, float],
) -> tuple[float, PllSetting]:
    """Highest clock in MHz that the routed design allows, and the setting to run it at."""
    # The design's own clock is the one nextpnr derived from the PLL; others must hold as they are.
    near = [c for c in routed.clocks if abs(c.constraint_mhz / setting.out_mhz - 1) < 1e-3]
    if len(near) != 1:
        raise ToolError(
            f"{len(near)} clocks of {setting.out_mhz:.5g} MHz in the timing report",
            where="nextpnr-ecp5",
        )
    for clock in routed.clocks:
        if clock is not near[0] and not clock.met:
            raise TimingError(
                f"clock of {clock.constraint_mhz:g} MHz reaches {clock.achieved_mhz:.4g} MHz",
                where=clock.net,
                fmax_mhz=clock.achieved_mhz,
                slower=None,
            )
    cap, limit = cap_mhz(board, routed.used)
    fmax = min(near[0].achieved_mhz, cap)
    fitting = fastest_setting(setting.in_hz, fmax * 1e6)
    slowest, fastest = clock_range
    if best_clock and fmax < slowest:
        raise TimingError(
            f"{fmax:.4g} MHz reached, the memory needs {slowest:.4g}",
            where=near[0].net,
            fmax_mhz=fmax,
            slower=None,
        )
    if best_clock:
        return fmax, fastest_setting(setting.in_hz, min(fmax, fastest) * 1e6)
    if setting.out_mhz > fmax:
        by = f"the data sheet's limit for {limit}" if fmax == cap else "routing"
        raise TimingError(
            f"{setting.out_mhz:.4g} MHz asked for, {fmax:.4g} MHz reached ({by})",
            where=near[0].net,
            fmax_mhz=fmax,
            slower=fitting,
        )
    return fmax, setting


def _result(
    board: Board,
    netlist: Netlist,
    routed: Routed,
    last: tuple[Stage, ...],
    pll: PllSetting | None,
    fmax_mhz: float,
    bitstream: str | None,
) -> BuildResult:
    clock_mhz = pll.out_mhz if pll else fmax_mhz
    stages = (*netlist.stages, *routed.stages, *last)
    cap, limit = cap_mhz(board, routed.used)
    return BuildResult(
        board=board.name,
        part=board.part,
        clock_mhz=clock_mhz,
        fmax_mhz=fmax_mhz,
        cap_mhz=cap,
        cap_by=limit,
        clocks=routed.clocks,
        used=routed.used,
        cells=netlist.cells,
        pll=pll,
        stages=stages,
        tools=tuple(dict.fromkeys(stage.tool for stage in stages)),
        seed=routed.seed,
        digest=digest("build", routed.key, f"{clock_mhz!r}", f"{pll.late if pll else 0}"),
        bitstream=bitstream,
        expected_mhz=routed.expected_mhz,
    )
