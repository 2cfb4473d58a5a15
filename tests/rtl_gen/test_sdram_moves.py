# amaranth: UnusedElaboratable=no
"""Moves between a read stream's words, on the chip model that objects: contents, exact cycles."""

import random

import pytest

from rtl_gen.sdram.controller import SdramController
from rtl_gen.sdram.model import ReadStream
from rtl_gen.sdram.timing import BURST, SDRAM_32MB, SDRAM_64MB
from sim.sdram import SdramBench, Setup

MHZ = 1_000_000
SETUPS = {
    "133 MHz": Setup(SdramController(SDRAM_32MB, 133_333_333, fifo_depth=64, moves=True),
                     SDRAM_32MB, 133_333_333),
    "125 MHz, 64 MB, late data": Setup(
        SdramController(SDRAM_64MB, 125 * MHZ, fifo_depth=128, read_delay=1, moves=True),
        SDRAM_64MB, 125 * MHZ, board_delay=1),
    "25 MHz": Setup(SdramController(SDRAM_32MB, 25 * MHZ, fifo_depth=16, moves=True), SDRAM_32MB,
                    25 * MHZ),
}  # fmt: skip
WORDS, PLACE = 3000, 1 << 12  # of the stream; first burst of what is moved


@pytest.fixture(scope="module")
def bench():
    return SdramBench(SETUPS)


@pytest.mark.parametrize("name", SETUPS)
def test_moves_between_words_of_a_stream(bench, name):
    """Written and read again, across rows and refreshes; the stream goes on as it was."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng, setup = random.Random(seed), SETUPS[name]
    contents = [rng.getrandbits(16) for _ in range(WORDS)]
    row = (1 << setup.part.column_bits) // BURST
    script, session, known, word = ["ready", f"read 3 {WORDS - 3}"], [], {}, 1
    for _ in range(14):
        count, gap, idle = rng.randrange(1, 300), rng.choice([0, 0, 1, 9]), rng.randrange(3000)
        script += [f"take {count} {gap}", f"idle {idle}"]
        session.append(("take", count, gap))
        write = not known or rng.random() < 0.5
        base = PLACE + rng.choice([0, row - 1, 2 * row - 3, rng.randrange(3 * row)])
        bursts = rng.choice([1, 2, row, 2 * row + 3])
        if not write:
            base = rng.choice(sorted(known))
            bursts = next(n for n in range(1, 1000) if base + n not in known)
        expected = []
        for burst in range(base, base + bursts):
            if write:
                known[burst] = []
                for _beat in range(BURST):
                    known[burst].append(word)
                    word = (word * 25173 + 13849) & 0xFFFF
            expected += known[burst]
        script.append(f"move {int(write)} {base} {bursts}")
        session.append(("move", base, bursts, write, expected))
    script += ["take 500 0"]
    session.append(("take", 500, 0))
    starts, taken = bench.run(name, script, contents)

    controller = setup.controller
    model = ReadStream(controller.schedule, words=WORDS - 3, base=3,
                       fifo_depth=controller.fifo_depth, column_bits=setup.part.column_bits)
    begun, earliest, index, moves = starts[0], 1, 0, iter(starts[1:])
    events = list(bench.moved)
    for kind, *of in session:
        if kind == "take":
            for _ in range(of[0]):
                cycle = model.pop(earliest + of[1])
                assert taken[index] == (begun + cycle, contents[3 + index % (WORDS - 3)]), index
                earliest, index = cycle + 1, index + 1
            continue
        base, bursts, write, expected = of
        wanted = next(moves) - begun
        moved = model.move(wanted, base, bursts, write=write)
        if write:
            assert events.pop(0)[:2] == ("M", begun + moved), (base, bursts)
        else:
            words = [event for event in events if event[0] == "V"][: len(expected)]
            end = next(event for event in events if event[0] == "M")
            assert [w for _kind, _cycle, w in words] == expected
            assert end[1] == begun + moved
            assert words[-1][1] <= begun + moved + controller.schedule.data_delay
            events = [event for event in events if event not in words and event != end]
        earliest = moved + 1
    assert index == len(taken) and not events
