"""The cocotb bench of a whole network: images in, every step's memories and the logits compared.

Runs inside the simulator, from a folder that holds ``run.json`` (what to run) and ``vectors.npz``
(images, expected words and masks); writes ``result.json``. It needs numpy and nothing of hwbnn,
so that a generated folder runs by itself.
"""

import json
import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout
from cocotb.utils import get_sim_time

PERIOD_NS = 10
# a step that takes longer hangs; the longest of an ImageNet network take a million cycles
STEP_NS = int(os.environ.get("HWBNN_STEP_CYCLES", "20_000_000")) * PERIOD_NS
MAX_REPORTED = 400


def memory(dut, path):
    for part in path.split("."):
        dut = getattr(dut, part)
    return dut


async def feed(dut, images, stall, rng):
    """Stream all images as pixels, with random gaps of probability ``stall``."""
    for image in images:
        for red, green, blue in image.reshape(-1, 3).tolist():
            while stall and rng.random() < stall:
                dut.i_pixel__valid.value = 0
                await FallingEdge(dut.clk)
            dut.i_pixel__valid.value = 1
            dut.i_pixel__payload.value = red | green << 8 | blue << 16
            # ready comes from registers: what it is now holds at the next rising edge
            while not int(dut.i_pixel__ready.value):
                await RisingEdge(dut.i_pixel__ready)
                await FallingEdge(dut.clk)
            await FallingEdge(dut.clk)
    dut.i_pixel__valid.value = 0


def compare(dut, vectors, frame, step, paths, problems):
    """Compare the memories that a step (a number, or an entry's name) leaves; returns how many
    words were compared."""
    count = 0
    for name, path in paths.items():
        key = f"{frame}/{step}/{name}"
        if f"{key}/address" not in vectors:
            continue
        handle = memory(dut, path)
        addresses = vectors[f"{key}/address"]
        words, masks = vectors[f"{key}/word"], vectors[f"{key}/mask"]
        for address, word, mask in zip(addresses.tolist(), words, masks, strict=True):
            expected = int.from_bytes(word.tobytes(), "little")
            relevant = int.from_bytes(mask.tobytes(), "little")
            got = int(handle[address].value)
            count += 1
            if (got ^ expected) & relevant and len(problems) < MAX_REPORTED:
                problems.append(
                    {"frame": frame, "step": step, "memory": name, "address": address,
                     "expected": hex(expected & relevant), "got": hex(got & relevant)}
                )
    return count


async def note_starts(dut, starts):
    """Record when each frame starts; the next one may start as the last one ends."""
    while True:
        await RisingEdge(dut.o_frame)
        starts.append(get_sim_time("ns"))


async def watch_unit(dut, vectors, run, n_images, problems, found):
    """Compare what each entry of a threshold unit leaves, and record when it was done."""
    entries = run["entries"]
    while True:
        await RisingEdge(dut.o_unit_done)
        turn, number = divmod(len(found["ends"]), len(entries))
        found["ends"].append(get_sim_time("ns"))
        frame = turn - entries[number]
        if 0 <= frame < n_images:
            found["words"] += compare(dut, vectors, frame, f"entry{number}", run["memories"],
                                      problems)


@cocotb.test()
async def network(dut):
    folder = Path(os.environ["HWBNN_RUN"])
    run = json.loads((folder / "run.json").read_text())
    with np.load(folder / "vectors.npz") as archive:
        vectors = dict(archive)
    rng = random.Random(run["seed"])
    images = vectors["images"]
    dut.rst.value = 1
    dut.i_pixel__valid.value = 0
    dut.i_logit_addr.value = 0
    if run["weight_words"]:
        dut.i_words.value = run["weight_words"]
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    for _ in range(4):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    starts: list[float] = []
    monitor = cocotb.start_soon(note_starts(dut, starts))
    # where frames overlap the last one ends while another one runs behind it; then one more starts
    spare = (1 + max(run["lags"])) * run["batch"]
    more = images[np.arange(len(images) + spare) % len(images)]
    feeder = cocotb.start_soon(feed(dut, more, run["stall"], rng))
    problems: list[dict] = []
    compared = 0
    unit = {"ends": [], "words": 0}
    if run["entries"]:
        cocotb.start_soon(watch_unit(dut, vectors, run, len(images), problems, unit))
    lags, lag, batch = run["lags"], max(run["lags"]), run["batch"]
    frames, ends = [], []
    for turn in range(len(images) // batch + lag):
        step_ends = []
        for step, behind in enumerate(lags):
            await with_timeout(RisingEdge(dut.o_step_done), STEP_NS, "ns")
            step_ends.append(round((get_sim_time("ns") - starts[turn]) / PERIOD_NS))
            begun = turn - behind  # the turn in which the frames of this step began
            if not 0 <= begun < len(images) // batch:
                continue
            first, count = run["images"][step]
            for image in range(first, first + count):
                frame = begun * batch + image
                compared += compare(dut, vectors, frame, step, run["memories"], problems)
            for image in range(batch if step == run["result"] else 0):
                await with_timeout(RisingEdge(dut.o_done), STEP_NS, "ns")
                await FallingEdge(dut.clk)
                logits = memory(dut, run["logits"])
                places = range(image * run["classes"], (image + 1) * run["classes"])
                frames.append(
                    {
                        "cycles": int(dut.o_cycles.value),
                        "class": int(dut.o_class.value),
                        "logits": [logits[i].value.to_signed() for i in places],
                    }
                )
        ends.append(step_ends)
    for number, frame in enumerate(frames):
        frame["steps"] = ends[number // batch]
    while len(starts) == len(ends):
        await with_timeout(RisingEdge(dut.o_frame), STEP_NS, "ns")
        await FallingEdge(dut.clk)
    feeder.cancel()
    monitor.cancel()
    result = {"frames": frames, "starts": [round(at / PERIOD_NS) for at in starts],
              "unit_ends": [round((at - starts[0]) / PERIOD_NS) for at in unit["ends"]],
              "words_compared": compared + unit["words"], "problems": problems}
    part = folder / "result.json.part"
    part.write_text(json.dumps(result))
    part.replace(folder / "result.json")
    assert len(frames) == len(images)
    assert compared > 0, "nothing was compared"
    assert not problems, problems[0]
