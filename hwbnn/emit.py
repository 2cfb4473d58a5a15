"""Components to RTLIL and Verilog: leaves once each, memories by name with outside contents."""

import dataclasses
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import ClockSignal, Const, Instance, ResetSignal
from amaranth.lib import memory, wiring

from . import tools
from .ebr import port_shape

VERILOG = Path(__file__).parent / "verilog"
# What emitted modules instantiate by name.
PRIMITIVES = ("hwbnn_ram.v", "hwbnn_mult18.v", "hwbnn_adders.v")


@dataclasses.dataclass
class Emitted:
    """What one conversion produced.

    ``modules`` maps a module name to its RTLIL text (with its submodules); the top is ``top``,
    every other one a leaf, and a leaf stands after the leaves it instantiates. ``synth`` gives the
    yosys options a leaf asks for. ``memories`` maps an external memory's name to (width, depth);
    its contents are loaded by that name in simulation and at synthesis (see ``hwbnn_ram.v``).
    ``owners`` says which module holds it, ``contents`` what its ``init`` held where that is not
    all zeros: unsigned words, used where nobody gives others.
    """

    top: str
    modules: dict[str, str]
    synth: dict[str, str]
    memories: dict[str, tuple[int, int]]
    owners: dict[str, str] = dataclasses.field(default_factory=dict)
    contents: dict[str, list[int]] = dataclasses.field(default_factory=dict)


class EmitPlatform:
    """Collects leaf modules and external memories while a top component is elaborated.

    It is the platform that components see under ``emit``; ``rtl_gen.leaf.leaf``,
    ``amaranth.lib.memory.Memory`` and the units ``Multiplier18`` and ``AdderChain`` call its hooks.
    """

    def __init__(self, module: str, emitted: Emitted):
        self._module = module
        self._emitted = emitted

    def get_leaf(self, component) -> Instance:
        """An instance of the leaf's module, which is converted on its first use."""
        name, modules = component.leaf_name, self._emitted.modules
        if name not in modules:
            inner = EmitPlatform(name, self._emitted)
            text = rtlil.convert(component, name=name, platform=inner, emit_src=False)
            modules[name] = text
            self._emitted.synth[name] = getattr(component, "leaf_synth", "")
        component._MustUse__used = True  # the second of two equal leaves is never elaborated
        return Instance(name, *_ports(component, _port_names(modules[name], name)))

    def get_memory(self, mem: memory.Memory):
        """A ``hwbnn_ram`` for a memory marked ``attrs={"hwbnn_name": name}``; else as usual.

        A marked memory has at most one write port, without granularity, and one synchronous read
        port of the same domain that is not transparent. ``"hwbnn_collision": "old"`` among its
        attributes says that reading a word while it is written is meant, and gives the old word.
        ``"hwbnn_registered": 1`` puts the block's output register behind the read port: data
        comes a cycle later than the port of the Amaranth memory says.
        """
        if "hwbnn_name" not in mem.attrs:
            return _plain_memory(mem)
        name = mem.attrs["hwbnn_name"]
        width, depth = len(mem.read_ports[0].data) if mem.read_ports else 0, mem.depth
        _check_memory(name, mem, width)
        if name in self._emitted.memories:
            raise ValueError(f"Two memories are named {name!r}")
        self._emitted.memories[name] = (width, depth)
        self._emitted.owners[name] = self._module
        words = [Const.cast(Const(word, mem.shape)).value % (1 << width) for word in mem.init]
        if any(words):
            self._emitted.contents[name] = words
        read, write = mem.read_ports[0], (*mem.write_ports, None)[0]
        return Instance(
            "hwbnn_ram",
            p_WIDTH=width,
            p_DEPTH=depth,
            p_NAME=name,
            p_COLUMN=port_shape(width, mem.depth)[1],
            p_ROWS=port_shape(width, mem.depth)[0],
            p_REGISTERED=int(mem.attrs.get("hwbnn_registered", 0)),
            p_ALLOW_COLLISION=int(mem.attrs.get("hwbnn_collision") == "old"),
            i_clk=ClockSignal(read.domain),
            i_w_en=write.en if write else Const(0),
            i_w_addr=write.addr if write else Const(0, len(read.addr)),
            i_w_data=write.data if write else Const(0, width),
            i_r_en=read.en,
            i_r_addr=read.addr,
            o_r_data=read.data,
        )

    def get_multiplier(self, unit) -> Instance:
        """A ``hwbnn_mult18``: MULT18X18D with its registers, or their meaning in simulation."""
        return Instance(
            "hwbnn_mult18",
            i_clk=ClockSignal(),
            i_a=unit.a,
            i_b=unit.b,
            o_p=unit.o,
        )

    def get_adder_chain(self, unit) -> Instance:
        """A ``hwbnn_adders``: CCU2C cells, or their sum in simulation."""
        return Instance(
            "hwbnn_adders",
            p_LENGTH=unit.length,
            p_GUARDS=Const(unit.guards, unit.length),
            p_HAS_C=Const(unit.has_c, unit.length),
            p_HAS_D=Const(unit.has_d, unit.length),
            i_a=unit.a,
            i_b=unit.b,
            i_c=unit.c,
            i_d=unit.d,
            o_s=unit.s,
        )


def _check_memory(name: str, mem: memory.Memory, width: int) -> None:
    reads, writes = mem.read_ports, mem.write_ports
    faults = (
        (len(reads) != 1, f"needs one read port, not {len(reads)}"),
        (len(writes) > 1, f"may have one write port, not {len(writes)}"),
        (any(p.domain == "comb" for p in reads), "needs a synchronous read port"),
        (any(p.transparent_for for p in reads), "may not have a transparent read port"),
        (any(len(p.en) != 1 for p in writes), "may not have write granularity"),
        (len({p.domain for p in (*reads, *writes)}) > 1, "has ports in two clock domains"),
        (mem.depth < 2 or width < 1, f"has no words to choose from ({mem.depth} x {width} bit)"),
        (not re.fullmatch(r"[A-Za-z_]\w*", name), "needs a name of letters, digits and _"),
        (
            mem.attrs.get("hwbnn_collision", "error") not in ("error", "old"),
            "has an unknown hwbnn_collision",
        ),
    )
    for fault, text in faults:
        if fault:
            raise ValueError(f"Memory {name!r} {text}")


def _plain_memory(mem: memory.Memory):
    """What ``Memory.elaborate`` does on a platform without a ``get_memory`` hook."""
    bare = object()
    return memory.Memory.elaborate(mem, bare)


def _port_names(text: str, module: str) -> set[str]:
    """Ports of one module of an RTLIL text."""
    body = text[text.index(f"\nmodule \\{module}\n") :]
    body = body[: body.index("\nend\n")]
    return set(re.findall(r"^ *wire .*\b(?:input|output) \d+ .*\\(\S+)$", body, re.M))


def _ports(component, names: set[str]) -> Iterator[tuple[str, str, object]]:
    if "clk" in names:
        yield ("i", "clk", ClockSignal())
    if "rst" in names:
        yield ("i", "rst", ResetSignal())
    for path, member, value in component.signature.flatten(component):
        name = "__".join(map(str, path))
        signal = value.as_value() if hasattr(value, "as_value") else value
        if len(signal) and name not in names:
            raise KeyError(f"{component.leaf_name} has no port {name}")
        if len(signal):
            yield ("i" if member.flow is wiring.In else "o", name, signal)


def emit(top: wiring.Component, name: str) -> Emitted:
    """Convert ``top`` and every leaf below it to RTLIL text, each leaf once."""
    emitted = Emitted(name, {}, {}, {})
    platform = EmitPlatform(name, emitted)
    emitted.modules[name] = rtlil.convert(top, name=name, platform=platform, emit_src=False)
    return emitted


def verilog_for_sim(emitted: Emitted, out_dir: Path) -> tuple[Path, ...]:
    """Write the design as Verilog for simulation into ``out_dir``; return the files, all needed.

    The hierarchy and the instance names stay: an external memory is the array ``mem`` of its
    ``hwbnn_ram``, at the path of submodule names below the top (a simulator gets its contents
    through ``+IMAGES=folder``, see ``hwbnn.memory_files``). The top module is ``emitted.top``.

    Raises
    ------
    ToolError
        yosys is missing or failed.
    """
    yosys = tools.find("yosys")
    out_dir.mkdir(parents=True, exist_ok=True)
    final = out_dir / f"{emitted.top}.v"
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".verilog-") as name:
        work = Path(name)
        (work / "design.il").write_text("\n".join(emitted.modules.values()))
        script = "read_rtlil design.il; proc -nomux -norom; memory_collect; "
        script += "write_verilog -norename -noattr design.v"
        tools.run(yosys, ["-q", "-p", script], cwd=work, log=out_dir / "write_verilog.log")
        (work / "design.v").replace(final)
    return (final, *(_copy(VERILOG / file, out_dir / file) for file in PRIMITIVES))


def _copy(source: Path, target: Path) -> Path:
    target.write_bytes(source.read_bytes())
    return target
