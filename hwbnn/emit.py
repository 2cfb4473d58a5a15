"""Components to RTLIL and Verilog: leaf modules once each, memories by name with outside contents."""

import dataclasses
from collections.abc import Iterable

from amaranth.back import rtlil
from amaranth.hdl import ClockSignal, Instance, ResetSignal
from amaranth.lib import wiring


@dataclasses.dataclass
class Emitted:
    """What one conversion produced.

    ``modules`` maps a module name to its RTLIL; the top is ``top``. ``synth`` gives the yosys
    options a leaf asks for. ``memories`` maps an external memory's name to (width, depth).
    """

    top: str
    modules: dict[str, str]
    synth: dict[str, str]
    memories: dict[str, tuple[int, int]]


class EmitPlatform:
    """Collects leaf modules while a top component is elaborated.

    Leaf components are created once per ``leaf_name`` and referenced as instances afterwards.
    """

    def __init__(self):
        self.leaves: dict[str, wiring.Component] = {}

    def get_leaf(self, component):
        self.leaves.setdefault(component.leaf_name, component)
        return Instance(component.leaf_name, *_ports(component))


def _ports(component) -> Iterable[tuple[str, str, object]]:
    yield ("i", "clk", ClockSignal())
    yield ("i", "rst", ResetSignal())
    for _path, member, value in component.signature.flatten(component):
        signal = value.as_value() if hasattr(value, "as_value") else value
        yield ("i" if member.flow is wiring.In else "o", signal.name, signal)


def emit(top: wiring.Component, name: str) -> Emitted:
    """Convert ``top`` and every leaf below it to RTLIL text, each leaf once."""
    platform = EmitPlatform()
    modules = {name: rtlil.convert(top, name=name, platform=platform, emit_src=False)}
    synth: dict[str, str] = {}
    pending = dict(platform.leaves)
    while pending:
        leaf_name, component = pending.popitem()
        inner = EmitPlatform()
        modules[leaf_name] = rtlil.convert(
            component, name=leaf_name, platform=inner, emit_src=False
        )
        synth[leaf_name] = getattr(component, "leaf_synth", "")
        pending |= {k: c for k, c in inner.leaves.items() if k not in modules}
    return Emitted(name, modules, synth, {})
