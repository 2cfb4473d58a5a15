# amaranth: UnusedElaboratable=no
"""A whole board that streams its weights, as its host sees it, on the strict SDRAM chip."""

import dataclasses
import itertools

import numpy as np
import pytest

from hwbnn import golden
from hwbnn import host_protocol as host
from hwbnn.build import board_design, get_board
from hwbnn.cache import Cache
from hwbnn.errors import DoesNotFit, UnsupportedError
from hwbnn.external import BoardMemory, board_memory, weight_source
from hwbnn.memory_files import write_images
from hwbnn.pack import pack
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.place import lpf
from hwbnn.schedule import schedule
from hwbnn.shape import Shape, derive
from hwbnn.synth import synthesise
from hwbnn.weight_image import image_of
from rtl_gen.engine.top import Engine
from rtl_gen.host_link import Command
from rtl_gen.pll import fastest_setting
from rtl_gen.sdram.timing import SDRAM_32MB
from sim.board import board_sources, build, converse, corner, with_chip
from sim.netlist import netlist_sources
from sim.random_network import random_network

DIGEST = b"\x00\xffHBhb\x80\x7f"
BAUD = 6_250_000  # the most that the oscillator allows: less to simulate
BOARD = get_board("ulx3s")
SETTING = fastest_setting(BOARD.clock_hz, 100e6)
# steps of the PLL at SETTING, on both sides of what data sheets allow where read data comes late
# and where the word before goes early, and the one that is built in
PHASES = {"late": (4, 23, 29, 30), "early": (17, 18, 23)}
WAKE = [host.request(Command.IDENTIFY)] * 5  # the memory's power-up takes 200 us


@dataclasses.dataclass
class Design:
    """A network on a machine, and the board around it."""

    graph: object
    program: object
    memory: BoardMemory

    def __post_init__(self):
        config = self.program.config
        _c, self.h, self.w = self.graph["image"].op.shape
        self.n_classes = self.program.layers[-1].out_shape[0]
        engine, setting, words = Engine(config), SETTING, 0
        if config.streams:
            self.image = image_of(self.program, DIGEST)
            engine, words = self.memory.accelerator(config), len(self.image.words)
            # phase for the right read delay: another one would make a wrong delay right
            setting = board_memory(BOARD).tuned(SETTING)
        self.emitted = board_design(
            engine, board=BOARD, image=(self.h, self.w, 3), n_classes=self.n_classes,
            identity=DIGEST, setting=setting, baud=BAUD, weight_words=words,
            overlap=config.overlap, batch=config.batch,
        )  # fmt: skip

    def upload(self):
        """Requests until the device takes images."""
        if not self.program.config.streams:
            return []
        words, crc = self.image.words, self.image.crc32
        return [*WAKE, *host.uploads(words), host.check_request(len(words), crc)]

    def talk(self, frames, sources, name, out_dir):
        """Answers of the board made of ``sources``, whose design is the module ``name``."""
        return self.converse(frames, self.build(sources, name, out_dir), out_dir)

    def build(self, sources, name, out_dir):
        """The board's simulator in ``out_dir``; its top."""
        write_images(self.emitted, pack(self.program), out_dir / "images")
        if self.program.config.streams:
            around = with_chip(name, out_dir, board=BOARD, part=SDRAM_32MB, clk_hz=SETTING.out_hz)
            sources, name = (*around, *sources), "with_chip"
        build(sources, name, out_dir)
        return name

    def converse(self, frames, name, out_dir, plusargs=()):
        return converse(name, frames, board=BOARD, out_dir=out_dir, images=out_dir / "images",
                        baud=BAUD, plusargs=plusargs)  # fmt: skip


def small(read_delay=None):
    network = random_network(np.random.default_rng(3), max_channels=12, size=6, max_blocks=1,
                             classes=3)  # fmt: skip
    _folded, graph = lower_to_integers(network.graph)
    memory = board_memory(BOARD)
    if read_delay is not None:
        memory = dataclasses.replace(memory, read_delay=read_delay)
    return Design(graph, derive(graph, Shape(8, 4, 1, 4), stream=True), memory)


def run(image):
    return host.request(Command.RUN, image.tobytes())


def refused(answer, status):
    with pytest.raises(host.LinkError, match=status):
        host.parse_response(answer)


def conversation(design):
    """(frames, images): refusals first, then other weights, then the right ones."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (2, design.h, design.w, 3), dtype=np.uint8)
    right = design.image
    other = dataclasses.replace(right, words=right.words.copy())
    other.words[-4:] ^= 0x55  # the classifier's constants or weights, no header
    n = len(right.words)
    frames = [
        host.request(Command.IDENTIFY),
        run(images[0]),
        *host.uploads(right.words, chunk_words=-(-n // 2)),
        run(images[0]),
        host.check_request(n, right.crc32 ^ 1),
        run(images[0]),
        host.check_request(n, right.crc32),
        *map(run, images),
        *host.uploads(other.words[n // 2 :], base=n // 2),
        host.check_request(n, right.crc32),
        run(images[0]),
        host.check_request(n, other.crc32),
        run(images[0]),
        *host.uploads(right.words),
        host.check_request(n, right.crc32),
        *map(run, images),
    ]
    return frames, images, other


def expect(design, answers, images, other):
    expected = golden.run(design.graph, images)
    cycles = schedule(design.program, source=weight_source(
        design.program, read_delay=design.memory.read_delay)).frames  # fmt: skip
    right = design.image
    identity = host.parse_identity(host.parse_response(answers[0]))
    assert identity == host.Identity(
        DIGEST, design.h, design.w, 3, design.n_classes, len(right.words))  # fmt: skip
    for n in (2, 3, 10, 15):  # words that were written
        assert host.parse_response(answers[n]) == b""
    for n in (1, 4, 6, 12):
        refused(answers[n], "NO_WEIGHTS; write the weight image")
    checks = {n: host.parse_check(host.parse_response(answers[n])) for n in (5, 7, 11, 13, 16)}
    crc = right.crc32
    assert checks == {
        5: host.Check(False, crc ^ 1, crc), 7: host.Check(True, crc, crc),
        11: host.Check(False, crc, other.crc32), 13: host.Check(True, other.crc32, other.crc32),
        16: host.Check(True, crc, crc),
    }  # fmt: skip
    results = {n: host.parse_result(host.parse_response(answers[n])) for n in (8, 9, 14, 17, 18)}
    for n, image in ((8, 0), (9, 1), (17, 0), (18, 1)):
        assert results[n].logits == tuple(expected.logits[image])
        assert results[n].label == expected.classes[image]
        assert results[n].cycles in cycles
    assert results[14].logits != results[8].logits, "other weights must matter"
    assert len(answers) == 19


def test_a_board_gets_its_weights_from_its_host(tmp_path):
    design = small()
    frames, images, other = conversation(design)
    answers = design.talk(frames, board_sources(design.emitted, tmp_path), "board_top", tmp_path)
    expect(design, answers, images, other)


@pytest.mark.slow
def test_so_does_the_netlist_and_every_pin_has_a_site(tmp_path):
    design = small()
    frames, images, other = conversation(design)
    netlist = synthesise(design.emitted, pack(design.program), tmp_path / "synth",
                         cache=Cache(enabled=False))  # fmt: skip
    pins = [port for port in netlist.ports if port.startswith("sdram_")]
    assert len(pins) == 39
    assert lpf(BOARD, netlist.ports).count("LOCATE") == len(netlist.ports)
    gates = netlist_sources(netlist, tmp_path, name="gates")
    expect(design, design.talk(frames, gates, "gates", tmp_path), images, other)


@pytest.mark.slow
def test_a_read_delay_that_is_wrong_is_found_by_the_check(tmp_path):
    design = small(read_delay=3)
    frames, crc = design.upload(), design.image.crc32
    answers = design.talk(frames, board_sources(design.emitted, tmp_path), "board_top", tmp_path)
    found = host.parse_check([host.parse_response(answer) for answer in answers][-1])
    assert not found.ok and found.expected == crc != found.found


@pytest.mark.slow
def test_phases_of_the_chips_clock_that_the_check_accepts(tmp_path):
    """A sweep, with the data-sheet arithmetic beside it; the phase that is built in passes both."""
    design = small()
    frames = design.upload()
    name = design.build(board_sources(design.emitted, tmp_path), "board_top", tmp_path)
    chosen = design.memory.tuned(SETTING).late
    assert chosen in PHASES["late"] and chosen in PHASES["early"]
    for data, phases in PHASES.items():
        for phase in phases:
            where = corner(SDRAM_32MB, late=data == "late", phase=phase)
            answer = design.converse(frames, name, tmp_path, where)[-1]
            margins = design.memory.margins(dataclasses.replace(SETTING, late=phase))
            right = margins.read_setup > 0 if data == "late" else margins.read_hold > 0
            assert host.parse_check(host.parse_response(answer)).ok == right, (data, phase)


@pytest.mark.slow
@pytest.mark.parametrize("stream", [True, False])
def test_a_machine_that_overlaps_frames_answers_every_image(tmp_path, stream):
    network = random_network(np.random.default_rng(1), imagenet=True, max_tau=5, size=32)
    rng = np.random.default_rng(2)
    _c, h, w = network.graph["image"].op.shape
    images = rng.integers(0, 256, (3, h, w, 3), dtype=np.uint8)
    _folded, graph = lower_to_integers(network.graph, images[:1], Numeric(image_weight_bits=8))
    base = derive(graph, Shape(16, 4, 1, 4), band=2)
    program = derive(graph, Shape(16, 4, 1, 4), band=2, stream=stream,
                     overlap=len(base.layers) - 1)  # fmt: skip
    assert program.config.overlap and program.config.streams == stream
    design = Design(graph, program, board_memory(BOARD))
    frames = [*design.upload(), *map(run, images)]
    answers = design.talk(frames, board_sources(design.emitted, tmp_path), "board_top", tmp_path)
    if stream:
        assert host.parse_check(host.parse_response(answers[-4])).ok
    payloads = [host.parse_response(answer) for answer in answers]
    expected = golden.run(graph, images)
    for n, payload in enumerate(payloads[-3:]):
        assert host.parse_result(payload).logits == tuple(expected.logits[n])


@pytest.mark.slow
@pytest.mark.parametrize("stream", [True, False])
def test_a_machine_with_a_batch_answers_its_images_together(tmp_path, stream):
    network = random_network(np.random.default_rng(8), pointwise=True, multiple=4, size=16,
                             max_channels=24, max_blocks=2, classes=5)  # fmt: skip
    _folded, graph = lower_to_integers(network.graph)
    # one product a lane and cycle: while the first layer runs, more arrives than a port would hold
    program = derive(graph, Shape(16, 4, 1, 1), stream=stream, batch=[[1, 2], [3, 4]])
    assert program.config.batch == 4 and program.config.streams == stream
    _c, h, w = graph["image"].op.shape
    images = np.random.default_rng(2).integers(0, 256, (2, 4, h, w, 3), dtype=np.uint8)
    design = Design(graph, program, board_memory(BOARD))
    frames = [*design.upload(), *(host.pieces(run(batch)) for batch in images)]
    answers = design.talk(frames, board_sources(design.emitted, tmp_path), "board_top", tmp_path)
    for batch, answer in zip(images, answers[-2:], strict=True):
        results = host.parse_results(host.parse_response(answer), 4)
        expected = golden.run(graph, batch)
        assert [r.logits for r in results] == list(map(tuple, expected.logits))
        assert [r.label for r in results] == list(expected.classes)
        assert all(a.cycles < b.cycles for a, b in itertools.pairwise(results))


def test_memories_that_do_not_do_are_refused():
    memory = board_memory(BOARD, SDRAM_32MB.n_words)
    assert (memory.part, memory.read_delay) == (SDRAM_32MB, 2)
    for mhz in (75, 90, 100, 110, 133):
        setting = memory.tuned(fastest_setting(BOARD.clock_hz, mhz * 1e6))
        assert memory.margins(setting).least > (1.4 if mhz <= 110 else 0.6), mhz
    with pytest.raises(DoesNotFit, match="take 32.0 MB of SDRAM, 32 MB are there"):
        board_memory(BOARD, SDRAM_32MB.n_words + 1)
    with pytest.raises(UnsupportedError, match="streamed weights: no SDRAM of 0 MB"):
        board_memory(dataclasses.replace(BOARD, sdram_bytes=0))
