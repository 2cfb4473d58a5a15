# amaranth: UnusedElaboratable=no
"""Synthesised netlists against what they were synthesised from, on models of the device's cells."""

import random

import pytest
from amaranth.hdl import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hwbnn import host_protocol as host
from hwbnn.build import board_design, get_board
from hwbnn.cache import Cache
from hwbnn.ebr import ebr_blocks
from hwbnn.emit import emit
from hwbnn.errors import Mismatch, ToolError
from hwbnn.memory_files import write_images
from hwbnn.synth import synthesise
from rtl_gen.host_link import Command
from rtl_gen.pll import fastest_setting
from rtl_gen.uart import UartRx
from sim.board import board_sources, talk
from sim.netlist import compare, netlist_sources

pytestmark = pytest.mark.slow

LATE = 2  # through the output register
# Width, depth, collisions: every port shape of a block, several rows and columns, folding.
SHAPES = [
    (1, 16384, False), (2, 8192, False), (4, 4096, False), (5, 4096, False), (9, 2048, False),
    (18, 1024, False), (36, 512, False), (64, 300, False), (9, 4096, False), (40, 1536, False),
    (8, 2048, True), (36, 512, True), (12, 3000, True),
    (18, 1024, LATE), (72, 512, LATE), (40, 1536, LATE), (9, 4096, LATE),
]  # fmt: skip


class Memories(wiring.Component):
    """One memory of each shape on the same addresses; those that must not collide do not."""

    def __init__(self):
        outputs = {f"o_{w}x{d}_{int(old)}": Out(w) for w, d, old in SHAPES}
        super().__init__(
            {"w_en": In(1), "r_en": In(1), "w_addr": In(14), "r_addr": In(14), "data": In(64)}
            | outputs
        )

    def elaborate(self, platform):
        m = Module()
        for width, depth, old in SHAPES:
            name = f"{width}x{depth}_{int(old)}"
            attrs = {"hwbnn_name": f"m{name}", "hwbnn_registered": int(old == LATE)}
            attrs |= {"hwbnn_collision": "old"} if old is True else {}
            mem = memory.Memory(shape=width, depth=depth, init=[], attrs=attrs)
            m.submodules[f"m{name}"] = mem
            w, r = mem.write_port(), mem.read_port()
            same = Signal(name=f"same_{name}")
            writes = Signal(name=f"writes_{name}")
            m.d.comb += [
                w.addr.eq(self.w_addr), r.addr.eq(self.r_addr), w.data.eq(self.data),
                writes.eq(self.w_en & (w.addr < depth)),
                same.eq(writes & (w.addr == r.addr)),
                w.en.eq(writes),
                r.en.eq(self.r_en & (r.addr < depth) & ((old is True) | ~same)),
                self[f"o_{name}"].eq(r.data),
            ]  # fmt: skip
        return m

    def __getitem__(self, name):
        return getattr(self, name)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


def test_memories_of_every_shape_with_contents(cache, tmp_path):
    rng = random.Random(36)
    emitted = emit(Memories(), "memories")
    contents = {
        name: [rng.getrandbits(width) for _ in range(depth)]
        for name, (width, depth) in emitted.memories.items()
    }
    netlist = synthesise(emitted, contents, tmp_path / "synth", cache=cache)
    assert '"OUTREG"' in netlist.verilog.read_text()
    assert netlist.cells["DP16KD"] <= sum(ebr_blocks(w, d) for w, d, _ in SHAPES)
    # Few distinct addresses, so that words written are read again, and many collide.
    few = "if ($urandom_range(1)) begin w_addr = w_addr & 3; r_addr = r_addr & 3; end"
    agreed = compare(
        emitted, netlist, tmp_path / "run", cycles=30_000, seed=1, contents=contents, assume=few
    )
    assert agreed == 30_000


def test_leaves_multipliers_and_small_memories(design, cache, tmp_path):
    emitted = emit(design(), "design")
    contents = {"weights": list(range(1, 41))}
    netlist = synthesise(emitted, contents, tmp_path / "synth", cache=cache)
    assert netlist.cells["MULT18X18D"] == 3 and netlist.cells["TRELLIS_DPR16X4"] > 0
    inside = "if (addr >= 40) addr = addr - 40;"
    options = {"cycles": 5000, "seed": 2, "assume": inside}
    assert compare(emitted, netlist, tmp_path / "a", contents=contents, **options) == 5000
    wrong = {"weights": [*contents["weights"][:-1], 0]}
    with pytest.raises(Mismatch, match=r"design\.o\w*: cycle \d+: expected \w+, netlist has \w+"):
        compare(emitted, netlist, tmp_path / "b", contents=wrong, **options)


def test_a_collision_stops_the_simulation(design, cache, tmp_path):
    class Colliding(wiring.Component):
        addr: In(4)
        data: In(8)
        o: Out(8)

        def elaborate(self, platform):
            m = Module()
            attrs = {"hwbnn_name": "crash"}
            m.submodules.mem = mem = memory.Memory(shape=8, depth=16, init=[], attrs=attrs)
            w, r = mem.write_port(), mem.read_port()
            m.d.comb += [
                w.addr.eq(self.addr), r.addr.eq(self.addr ^ self.data[7]), w.data.eq(self.data),
                w.en.eq(1), self.o.eq(r.data),
            ]  # fmt: skip
            return m

    emitted = emit(Colliding(), "colliding")
    netlist = synthesise(emitted, {}, tmp_path / "synth", cache=cache)
    with pytest.raises(ToolError, match=r"\(crash\): word \d+ read and written in one cycle"):
        compare(emitted, netlist, tmp_path / "run", cycles=100, seed=3)


def test_a_cell_without_a_model_is_named(cache, tmp_path):
    emitted = emit(UartRx(clk_hz=8, baud=1), "uart")
    netlist = synthesise(emitted, {}, tmp_path, cache=cache)
    netlist.cells["ALU54B"] = 1
    with pytest.raises(ToolError, match="no model of the cell ALU54B"):
        netlist_sources(netlist, tmp_path / "run", name="gates")


def test_a_board_answers_its_host_before_and_after_synthesis(sum_engine, cache, tmp_path):
    board = get_board("ulx3s")
    weights = [3, (1 << 18) - 5, 7, 1, (1 << 17) - 1]
    contents = {"weights": weights}
    emitted = board_design(
        sum_engine(n_pixels=12, n_classes=5), board=board, image=(3, 4, 3), n_classes=5,
        identity=b"\x00\xffHBhb\x80\x7f", setting=fastest_setting(board.clock_hz, 80e6),
    )  # fmt: skip
    images = [bytes(range(36)), b"HB" * 18, b"\xff" * 36]
    broken = bytearray(host.request(Command.RUN, images[0]))
    broken[20] ^= 4
    frames = [
        host.request(Command.IDENTIFY),
        host.request(Command.RUN, images[0]),
        bytes(broken),
        *(host.request(Command.RUN, image) for image in images[1:]),
    ]
    write_images(emitted, contents, tmp_path / "images")
    answers = talk(
        board_sources(emitted, tmp_path / "rtl"), "board_top", frames, board=board,
        out_dir=tmp_path / "rtl", images=tmp_path / "images",
    )  # fmt: skip
    identity = host.parse_identity(host.parse_response(answers[0]))
    assert identity == host.Identity(b"\x00\xffHBhb\x80\x7f", 3, 4, 3, 5)
    with pytest.raises(host.LinkError, match="BAD_CHECKSUM"):
        host.parse_response(answers[2])
    signed_weights = [w - (1 << 18) if w >> 17 else w for w in weights]
    for image, answer in zip(images, (answers[1], *answers[3:]), strict=True):
        result = host.parse_result(host.parse_response(answer))
        assert result.logits == tuple(w * sum(image) for w in signed_weights)
        assert (result.label, result.cycles) == (4, 25)

    netlist = synthesise(emitted, contents, tmp_path / "synth", cache=cache)
    gates = netlist_sources(netlist, tmp_path / "net", name="gates")
    assert talk(gates, "gates", frames, board=board, out_dir=tmp_path / "net") == answers
