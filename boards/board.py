"""What a board declaration is made of."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a device has: LUTs and flip-flops as nextpnr counts them, block RAMs, multipliers."""

    comb: int
    ff: int
    ebr: int
    dsp: int


@dataclasses.dataclass(frozen=True)
class SpeedCaps:
    """Highest clock in MHz that a speed grade allows, whatever a timing report says."""

    clock_tree: float
    ebr: float
    dsp: float


@dataclasses.dataclass(frozen=True)
class Pin:
    """One top-level port: its site on the package, active level and LPF attributes."""

    port: str
    site: str
    invert: bool
    attrs: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Board:
    """One board with one device.

    ``name`` is what a user types ("ulx3s-85f"); ``nextpnr`` selects device, package and speed
    grade; ``idcode`` is given to ecppack where the device differs from the die it is made of.
    ``pins`` are the ports a design's top may have. ``baud`` is the fastest serial rate.
    """

    name: str
    part: str
    budget: Budget
    caps: SpeedCaps
    nextpnr: tuple[str, ...]
    clock_hz: int
    pins: tuple[Pin, ...]
    baud: int
    sdram_bytes: int = 0
    idcode: str = ""

    def pin(self, port: str) -> Pin:
        """The pin of a top-level port.

        Raises
        ------
        LookupError
            The board has no such port.
        """
        for pin in self.pins:
            if pin.port == port:
                return pin
        known = ", ".join(pin.port for pin in self.pins)
        raise LookupError(f"{self.name} has no port {port!r}; it has {known}")


def pins_of(platform, ports: dict[str, tuple]) -> tuple[Pin, ...]:
    """Look ports up among an Amaranth platform's resources.

    ``ports`` maps a top-level port to (resource, number), (resource, number, subsignal) or
    (resource, number, subsignal, bit). A port whose name ends in _n has the level of its pin.
    """
    resources = {(r.name, r.number): r for r in platform.resources}
    pins = []
    for port, (name, number, *sub) in ports.items():
        parts = [resources[name, number]]
        bit = sub[1] if len(sub) > 1 else 0
        if sub:
            parts += [io for io in parts[0].ios if getattr(io, "name", None) == sub[0]]
        leaf = parts[-1].ios[0]
        attrs = {k: str(v) for part in parts for k, v in part.attrs.items()}
        invert = leaf.invert and not port.endswith("_n")
        pins.append(Pin(port, leaf.names[bit], invert, tuple(sorted(attrs.items()))))
    return tuple(pins)
