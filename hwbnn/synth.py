"""yosys: every leaf module once to a netlist, then the top around the leaves' netlists."""

import dataclasses
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from . import tools
from .cache import Cache, digest
from .ebr import port_shape
from .emit import PRIMITIVES, VERILOG, Emitted
from .memory_files import hex_text, memory_words
from .netlist import open_carry_ends, use_output_registers
from .tools import Stage

Progress = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Netlist:
    """A whole design in ECP5 cells.

    ``json`` is what nextpnr reads, ``verilog`` the same netlist for simulation with the models in
    ``sim/cells``. ``cells`` counts them by type, ``ports`` are the top's ports. ``key`` is the
    digest of everything that went in.
    """

    top: str
    json: Path
    verilog: Path
    cells: dict[str, int]
    ports: tuple[str, ...]
    stages: tuple[Stage, ...]
    key: str


def synthesise(
    emitted: Emitted,
    contents: Mapping[str, Iterable[int]],
    out_dir: Path,
    *,
    cache: Cache,
    options: str = "",
    progress: Progress = lambda line: None,
) -> Netlist:
    """Synthesise ``emitted`` with memory ``contents`` (see ``memory_words``) into ``out_dir``.

    ``options`` go to the top's ``synth_ecp5``; leaves have their own. Files: ``design.json``,
    ``netlist.v``, a log per module that ran.

    Raises
    ------
    ToolError
        yosys is missing or failed.
    UserError
        ``contents`` do not fit the memories.
    """
    yosys = tools.find("yosys")
    words = memory_words(emitted, contents)
    images = {
        name: _blocks(words.get(name, ()), width, depth)
        for name, (width, depth) in emitted.memories.items()
    }
    out_dir.mkdir(parents=True, exist_ok=True)
    keys: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".synth-") as name:
        work = Path(name)
        runner = _Runner(yosys, work, out_dir, cache, progress)
        for file in PRIMITIVES:
            (work / file).write_bytes((VERILOG / file).read_bytes())
        for memory, blocks in images.items():
            for (column, row), text in blocks.items():
                (work / f"{memory}.{column:03}.{row:03}.hex").write_text(text)
        for module, text in emitted.modules.items():
            inner = _instantiated(text, keys)
            own = options if module == emitted.top else emitted.synth[module]
            mine = sorted(m for m, owner in emitted.owners.items() if owner == module)
            keys[module] = digest(
                "module", str(yosys), own, text,
                *((VERILOG / file).read_bytes() for file in PRIMITIVES),
                *(part for m in mine for part in (m, *images[m].values())),
                *(keys[m] for m in inner),
            )  # fmt: skip
            (work / f"{module}.il").write_text(text)
            script = [
                "read_verilog -defer hwbnn_ram.v",
                "read_verilog hwbnn_mult18.v",
                "read_verilog -defer hwbnn_adders.v",
                *(f"read_rtlil {m}.net.il; blackbox {m}" for m in inner),
                f"read_rtlil {module}.il",
                # abc9 trips over the alias a[0] that Amaranth gives the element of an array a.
                f"hierarchy -top {module}; proc; flatten; opt_clean -purge",
                f"synth_ecp5 -top {module} {own}",
                f"select {module}",
                f"write_rtlil -selected {module}.net.il",
            ]
            runner.step(f"synth {module}", script, keys[module], (f"{module}.net.il",))
        for module in emitted.modules:
            use_output_registers(work / f"{module}.net.il")
        key = digest("merge", keys[emitted.top])
        script = [
            *(f"read_rtlil {module}.net.il" for module in emitted.modules),
            f"synth_ecp5 -top {emitted.top} -run begin:coarse",
            "flatten",
            "opt_clean",
            f"synth_ecp5 -top {emitted.top} -run check:edif",
            "tee -q -o stat.json stat -json",
            "write_json design.json",
            "write_verilog -noattr netlist.v",
        ]
        made = ("stat.json", "design.json", "netlist.v")
        runner.step("synth merge", script, key, made)
        open_carry_ends(work / "design.json")
        for file in made:
            (work / file).replace(out_dir / file)
    stat = json.loads((out_dir / "stat.json").read_text())["design"]["num_cells_by_type"]
    ports = json.loads((out_dir / "design.json").read_text())["modules"][emitted.top]["ports"]
    return Netlist(
        emitted.top,
        out_dir / "design.json",
        out_dir / "netlist.v",
        {kind: n for kind, n in stat.items() if not kind.startswith("$")},
        tuple(ports),
        tuple(runner.stages),
        key,
    )


def _blocks(words: Iterable[int], width: int, depth: int) -> dict[tuple[int, int], str]:
    """The $readmemh files of a memory's blocks by (column, row), from the low bits and words up."""
    rows, column = port_shape(width, depth)
    mask, words = (1 << column) - 1, list(words)
    return {
        (c, r): hex_text(word >> (c * column) & mask for word in words[r * rows : (r + 1) * rows])
        for c in range(-(-width // column))
        for r in range(-(-depth // rows))
    }


def _instantiated(text: str, known: Iterable[str]) -> list[str]:
    """Which of the modules ``known`` an RTLIL text has instances of, in their order."""
    used = set(re.findall(r"^\s*cell \\(\S+) ", text, re.M))
    return [module for module in known if module in used]


@dataclasses.dataclass
class _Runner:
    """Runs yosys scripts in ``work``, or takes what they made from the cache."""

    yosys: tools.Tool
    work: Path
    out_dir: Path
    cache: Cache
    progress: Progress
    stages: list[Stage] = dataclasses.field(default_factory=list)

    def step(self, name: str, script: list[str], key: str, made: tuple[str, ...]) -> None:
        notes = self.cache.get(key, self.work)
        cached = notes is not None
        if cached:
            self.progress(f"{name}: kept from an earlier build")
        else:
            self.progress(name)
            (self.work / "script.ys").write_text("\n".join(script) + "\n")
            log = self.out_dir / f"{name.replace(' ', '-')}.log"
            usage = tools.run(self.yosys, ["-q", "-s", "script.ys"], cwd=self.work, log=log)
            notes = dataclasses.asdict(usage)
            self.cache.put(key, [self.work / file for file in made], notes)
        seconds, peak = notes["seconds"], notes["peak_bytes"]
        self.stages.append(Stage(name, str(self.yosys), seconds, peak, cached))
