# amaranth: UnusedElaboratable=no
"""The SDRAM controller on a chip model that objects: contents, exact cycles, injected faults."""

import dataclasses
import itertools
import random
import re
from pathlib import Path

import pytest
from amaranth.sim import Simulator

from hwbnn.errors import ToolError
from rtl_gen.sdram.checksum import Crc32, crc32_of_words
from rtl_gen.sdram.controller import Command, SdramController
from rtl_gen.sdram.model import ReadStream
from rtl_gen.sdram.pin_timing import pin_margins
from rtl_gen.sdram.schedule import Schedule
from rtl_gen.sdram.timing import SDRAM_32MB, SDRAM_64MB
from sim.sdram import SdramBench, Setup

MHZ = 1_000_000
FAST = 133_333_333


class NoPrecharge(SdramController):
    def power_up_steps(self):
        return [s for s in super().power_up_steps() if s[0] != Command.PRECHARGE]


class NoMode(SdramController):
    def power_up_steps(self):
        return [s for s in super().power_up_steps() if s[0] != Command.MODE]


class ShortBursts(SdramController):
    """The mode register says 4 words."""

    def power_up_steps(self):
        steps = super().power_up_steps()
        return [(c, a & ~1 if c == Command.MODE else a, n) for c, a, n in steps]


class ShortSlots(SdramController):
    """A READ every 7 cycles."""

    def elaborate(self, platform):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("rtl_gen.sdram.controller.BURST", 7)
            return super().elaborate(platform)


class NoActivate(SdramController):
    @staticmethod
    def _activate(command, bank, a, fields):
        return []


class AlwaysDrives(SdramController):
    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.sync += self.o_dq_en.eq(1)
        return m


class NeverDrives(SdramController):
    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.sync += self.o_dq_en.eq(0)
        return m


class LeavesRowsOpen(SdramController):
    """No automatic precharge, and only bank 0 is closed before a refresh."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        with m.If(self.o_ready):
            m.d.sync += self.o_a[10].eq(0)
        return m


WRITE = ["ready", "write 5", "put 1 0", "put 2 0", "put 3 0", "idle 100"]
READ = ["ready", "read 504 4000", "take 4000 0"]
STALL = ["ready", "read 0 4000", "idle 20000"]
SLOW = {"t_wr": 30, "t_rc": 90, "t_rrd": 45, "t_ras_max": 5000, "refresh_ns": 15625}


def slower(*names):
    """A part that is slow in these parameters."""
    return dataclasses.replace(SDRAM_32MB, **{name: SLOW[name] for name in names})


def shortened(part=SDRAM_32MB, **changes):
    """The controller for ``part`` with some of its cycle counts changed."""
    cycles = dataclasses.replace(part.cycles(FAST), **changes)
    return SdramController(part, FAST, fifo_depth=16, schedule=Schedule(cycles))


# name: setup whose stream has to be right
STREAMS = {
    "133 MHz": Setup(SdramController(SDRAM_32MB, FAST), SDRAM_32MB, FAST),
    "100 MHz, leading clock": Setup(
        SdramController(SDRAM_32MB, 100 * MHZ, fifo_depth=32, read_delay=-1),
        SDRAM_32MB, 100 * MHZ, inverted=True),
    "125 MHz, 64 MB, late data": Setup(
        SdramController(SDRAM_64MB, 125 * MHZ, fifo_depth=512, read_delay=1),
        SDRAM_64MB, 125 * MHZ, board_delay=1),
    "25 MHz": Setup(
        SdramController(SDRAM_32MB, 25 * MHZ, fifo_depth=16), SDRAM_32MB, 25 * MHZ,),
}  # fmt: skip
GOOD = SDRAM_32MB.cycles(FAST)
# name: (controller, what the chip insists on, script, rule that must be named)
FAULTS = {
    "rcd": (shortened(rcd=GOOD.rcd - 1), SDRAM_32MB, READ, "tRCD"),
    "rp": (shortened(rp=GOOD.rp - 1), SDRAM_32MB, READ, "tRP"),
    "rc": (STREAMS["133 MHz"].controller, slower("t_rc"), WRITE, "tRC"),
    "ras": (shortened(ras=GOOD.ras - 1), SDRAM_32MB, WRITE, "tRAS"),
    "ras_max": (STREAMS["133 MHz"].controller, slower("t_ras_max"), STALL, r"tRAS\(max\)"),
    "rrd": (STREAMS["133 MHz"].controller, slower("t_rrd"), READ, "tRRD"),
    "wr": (STREAMS["133 MHz"].controller, slower("t_wr"), WRITE, "tWR"),
    "rfc": (shortened(rfc=GOOD.rfc - 1), SDRAM_32MB, READ, "tRFC"),
    "mrd": (shortened(mrd=GOOD.mrd - 1), SDRAM_32MB, READ, "tMRD"),
    "late refresh": (shortened(refresh=GOOD.refresh + 60), SDRAM_32MB, READ, "tREFI"),
    "missed refresh": (shortened(refresh=2 * GOOD.refresh), SDRAM_32MB, STALL, "tREFI"),
    "power-up": (shortened(power_up=GOOD.power_up - 2), SDRAM_32MB, READ, "power-up"),
    "init refreshes": (shortened(init_refreshes=6), SDRAM_32MB, READ, "initialisation: 7 refr"),
    "init precharge": (NoPrecharge(SDRAM_32MB, FAST), SDRAM_32MB, READ, "no PRECHARGE ALL"),
    "init mode": (NoMode(SDRAM_32MB, FAST), SDRAM_32MB, READ, "mode register not loaded"),
    "cas": (shortened(cas_latency=2), SDRAM_32MB, READ, "CAS latency"),
    "closed bank": (NoActivate(SDRAM_32MB, FAST), SDRAM_32MB, READ, "READ to a closed bank"),
    "open bank": (LeavesRowsOpen(slower("refresh_ns"), FAST), slower("refresh_ns"), READ,
                  "ACTIVATE of an open bank"),
    "refresh open": (LeavesRowsOpen(SDRAM_32MB, FAST), SDRAM_32MB, STALL[:1] + READ[1:],
                     "AUTO REFRESH with an open bank"),
    "short bursts": (ShortBursts(SDRAM_32MB, FAST), SDRAM_32MB, READ, "mode: not bursts of 8"),
    "short slots": (ShortSlots(SDRAM_32MB, FAST), SDRAM_32MB, READ, "READ cuts a burst short"),
    "contention": (AlwaysDrives(SDRAM_32MB, FAST), SDRAM_32MB, READ, "contention"),
    "no data": (NeverDrives(SDRAM_32MB, FAST), SDRAM_32MB, WRITE, "WRITE without data"),
}  # fmt: skip
# the controller made for a slow part, where a fault above needs one
GOOD_ON_SLOW = {
    "good rc": (slower("t_rc"), WRITE),
    "good wr": (slower("t_wr"), WRITE),
    "good refresh": (slower("refresh_ns"), STALL),
}
WRONG_DELAY = "wrong delay"


@pytest.fixture(scope="module")
def bench():
    setups = dict(STREAMS)
    for name, (controller, part, _script, _rule) in FAULTS.items():
        setups[name] = Setup(controller, part, FAST)
    for name, (part, _script) in GOOD_ON_SLOW.items():
        setups[name] = Setup(SdramController(part, FAST), part, FAST)
    setups[WRONG_DELAY] = Setup(SdramController(SDRAM_32MB, FAST, read_delay=1), SDRAM_32MB, FAST)
    return SdramBench(setups)


@pytest.mark.parametrize("name", FAULTS)
def test_the_chip_names_the_rule_that_a_faulty_controller_breaks(bench, name):
    _controller, _part, script, rule = FAULTS[name]
    with pytest.raises(ToolError, match=f"SDRAM rule .*{rule}"):
        bench.run(name, script)


@pytest.mark.parametrize("name", GOOD_ON_SLOW)
def test_the_controller_made_for_that_part_breaks_none(bench, name):
    bench.run(name, GOOD_ON_SLOW[name][1])


def random_session(rng, part, rounds):
    """A script and, for each read, (base, words, [(gap, word)...]); None for a write."""
    memory, script, reads = {}, ["ready"], []
    row = 1 << part.column_bits
    for _ in range(rounds):
        for _ in range(rng.choice([0, 1, 1, 2])):
            base = rng.choice([0, 3, row - 5, 3 * row - 1, 4 * row - 9, rng.randrange(8 * row)])
            script.append(f"write {base}")
            reads.append(None)
            for k in range(rng.choice([1, 20, 300])):
                word = rng.getrandbits(16)
                memory[base + k] = word
                script.append(f"put {word} {rng.choice([0, 0, 0, 5, 40])}")
            # a word that was just accepted survives a start in any later cycle
            script.append(f"idle {rng.randrange(12)}")
        known = [a for a in memory if a - 1 not in memory]
        if not known:
            continue
        base = rng.choice(known)
        run = next(k for k in itertools.count() if base + k not in memory)
        skip = rng.randrange(run)
        words = rng.randrange(1, run - skip + 1)
        gaps = [(rng.randrange(1, 400), 0), (rng.randrange(60), rng.randrange(6)), (1, 4000)]
        takes = rng.choices(gaps, k=rng.randrange(1, 12))
        script.append(f"read {base + skip} {words}")
        script += [f"take {n} {gap}" for n, gap in takes if n]
        expected, position = [], 0
        for n, gap in takes:
            for _ in range(n):
                expected.append((gap, memory[base + skip + position % words]))
                position += 1
        reads.append((base + skip, words, expected))
    return script, reads


def check_reads(controller, reads, starts, taken):
    """Compare words and cycles with the model; return how many."""
    assert len(starts) == len(reads)
    index = 0
    for start, read in zip(starts, reads, strict=True):
        if read is None:
            continue
        base, words, expected = read
        model = ReadStream(
            controller.schedule, words=words, base=base, fifo_depth=controller.fifo_depth
        )
        earliest = 1  # the bench is ready from the cycle after the start on
        for position, (gap, word) in enumerate(expected):
            cycle = model.pop(earliest + gap)
            where = f"word {position} of the read of {words} from {base} at cycle {start}"
            assert taken[index] == (start + cycle, word), where
            earliest = cycle + 1
            index += 1
    assert index == len(taken)
    return index


@pytest.mark.parametrize("name", STREAMS)
def test_random_writes_and_reads_are_right_and_on_time(bench, name):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    setup = STREAMS[name]
    script, reads = random_session(random.Random(seed), setup.part, 16)
    starts, taken = bench.run(name, script)
    assert check_reads(setup.controller, reads, starts, taken) > 100


@pytest.mark.parametrize("name", STREAMS)
def test_long_streams_take_the_predicted_cycles(bench, name):
    """Through many rows, refreshes and a wrap, without and with stalls."""
    setup, rng = STREAMS[name], random.Random(5)
    contents = [rng.getrandbits(16) for _ in range(22_000)]
    base, words = 1003, 20_501
    image = contents[base : base + words]
    endless = [(0, word) for word in image * 2]
    stalled = [(0 if rng.random() < 0.9 else rng.randrange(25), word) for word in image]
    script = ["ready", f"read {base} {words}", f"take {2 * words} 0", f"read {base} {words}"]
    script += [f"take 1 {gap}" for gap, _word in stalled]
    starts, taken = bench.run(name, script, contents)
    reads = [(base, words, endless), (base, words, stalled)]
    assert check_reads(setup.controller, reads, starts, taken) == 3 * words
    if setup.clk_hz >= 100 * MHZ:
        first, last = taken[0][0], taken[2 * words - 1][0]
        assert 2 * words / (last - first + 1) >= 0.95


def test_a_start_during_power_up_waits_for_its_end(bench):
    setup = STREAMS["133 MHz"]
    starts, taken = bench.run("133 MHz", ["idle 100", "read 3 50", "take 200 0"], range(64))
    assert [word for _cycle, word in taken] == [3 + k % 50 for k in range(200)]
    model = ReadStream(setup.controller.schedule, words=50, base=3)
    late = {cycle - model.pop(0) for cycle, _word in taken}
    assert len(late) == 1
    assert taken[0][0] - starts[0] > GOOD.power_up - 100


def test_the_stream_is_wrong_with_a_wrong_read_delay(bench):
    starts, taken = bench.run(WRONG_DELAY, ["ready", "read 0 64", "take 64 0"], range(64))
    assert [word for _cycle, word in taken] != list(range(64))


def test_taking_many_words_is_taking_each():
    rng = random.Random(1)
    schedule = Schedule(SDRAM_32MB.cycles(FAST))
    for depth in (16, 64, 1024):
        one = ReadStream(schedule, words=777, base=5, fifo_depth=depth)
        many = ReadStream(schedule, words=777, base=5, fifo_depth=depth)
        earliest = 0
        for _ in range(300):
            earliest += rng.choice([0, 1, 300, 3000])
            n = rng.choice([1, 7, 8, 200])
            cycle = earliest - 1
            for _ in range(n):
                cycle = one.pop(cycle + 1)
            assert many.take(earliest, n) == cycle
            assert many.taken == one.taken
            earliest = cycle + 1


def test_cycles_at_a_clock():
    fast, slow = SDRAM_32MB.cycles(FAST), SDRAM_32MB.cycles(100 * MHZ)
    assert (fast.rcd, fast.rp, fast.rc, fast.ras, fast.rfc) == (3, 3, 9, 6, 10)
    assert (slow.rcd, slow.rp, slow.rc, slow.ras, slow.rfc) == (3, 3, 7, 5, 7)
    assert (fast.mrd, slow.mrd, slow.wr) == (2, 2, 2)
    assert (slow.refresh, slow.power_up) == (781, 20_000)
    assert SDRAM_32MB.n_words == 16 << 20 and SDRAM_64MB.n_words == 32 << 20
    with pytest.raises(ValueError, match="must be above 0 and at most 142.857 MHz, not 200"):
        SDRAM_32MB.cycles(200 * MHZ)


def test_what_the_schedule_cannot_keep_is_refused():
    with pytest.raises(ValueError, match="rrd must be at most 4 cycles here, not 6"):
        Schedule(slower("t_rrd").cycles(FAST))
    with pytest.raises(ValueError, match="ras must be at most 7"):
        Schedule(dataclasses.replace(GOOD, ras=8))
    with pytest.raises(ValueError, match="too few at this clock"):
        Schedule(SDRAM_32MB.cycles(4 * MHZ))
    with pytest.raises(ValueError, match="read_delay must be in -1 to 4, not 5"):
        Schedule(GOOD, read_delay=5)
    with pytest.raises(ValueError, match="power of two from 16 on, not 24"):
        SdramController(SDRAM_32MB, FAST, fifo_depth=24)
    with pytest.raises(ValueError, match="at least one word, not 0"):
        ReadStream(Schedule(GOOD), words=0)


def test_crc_is_that_of_zlib():
    assert crc32_of_words(int.from_bytes(b"12345678"[k : k + 2], "little") for k in (0, 2, 4, 6)) \
        == 0x9AE0DAAF  # fmt: skip
    rng = random.Random(3)
    dut = Crc32()

    async def bench(ctx):
        for words in ([], [0], [0xFFFF] * 3, [rng.getrandbits(16) for _ in range(200)]):
            ctx.set(dut.i_clear, 1)
            ctx.set(dut.i_valid, rng.getrandbits(1))
            await ctx.tick()
            ctx.set(dut.i_clear, 0)
            for k, word in enumerate(words):
                assert ctx.get(dut.o_crc) == crc32_of_words(words[:k])
                ctx.set(dut.i_data, word)
                ctx.set(dut.i_valid, 1)
                await ctx.tick()
                ctx.set(dut.i_valid, 0)
                if rng.random() < 0.2:
                    await ctx.tick()
            assert ctx.get(dut.o_crc) == crc32_of_words(words)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_pin_margins_are_those_of_the_table():
    table = (Path(__file__).parents[2] / "docs" / "sdram.md").read_text()
    rows = re.findall(r"^\| (100|133) MHz \| ([\d.]+) \|(.*)\|$", table, re.M)
    assert len(rows) == 4
    for mhz, phase, values in rows:
        clk_hz = {"100": 100e6, "133": FAST}[mhz]
        got = dataclasses.astuple(pin_margins(SDRAM_32MB, clk_hz, float(phase)))
        want = [float(v) for v in values.split("|")]
        assert got == pytest.approx(want, abs=0.011), (mhz, phase)
