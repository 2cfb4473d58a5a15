"""The cocotb bench of a whole board: requests in through the serial line, answers out of it.

Runs inside the simulator; ``HWBNN_BOARD`` names a folder with ``requests.json``: the frames in
pieces of hexadecimal text, the byte that asks for another piece, the bit time and the clock
period in picoseconds. Writes ``answers.json``.
"""

import json
import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.triggers import FallingEdge, RisingEdge, Timer, with_timeout

HEADER_BYTES = 7
CRC_BYTES = 2
PATIENCE_BITS = 100_000


async def send(dut, data, bit_ps):
    for byte in data:
        for bit in (0, *((byte >> n) & 1 for n in range(8)), 1):
            dut.uart_rx.value = bit
            await Timer(bit_ps, unit="ps")


async def receive_byte(dut, bit_ps):
    await with_timeout(FallingEdge(dut.uart_tx), PATIENCE_BITS * bit_ps, "ps")
    await Timer(bit_ps * 3 // 2, unit="ps")
    byte = 0
    for n in range(8):
        byte |= int(dut.uart_tx.value) << n
        await Timer(bit_ps, unit="ps")
    assert int(dut.uart_tx.value) == 1, "no stop bit"
    return byte


async def send_pieces(dut, pieces, wanted, bit_ps):
    for n, piece in enumerate(pieces):
        if n:
            await wanted.get()
        await send(dut, bytes.fromhex(piece), bit_ps)


async def receive(dut, wanted, more, bit_ps):
    """One whole frame, by the length in its header; bytes ``more`` before it go to ``wanted``."""
    frame = bytearray()
    size = HEADER_BYTES
    while len(frame) < size:
        byte = await receive_byte(dut, bit_ps)
        if not frame and byte == more:
            wanted.put_nowait(byte)
            continue
        frame.append(byte)
        if len(frame) == HEADER_BYTES:
            size += int.from_bytes(frame[3:6], "little") + CRC_BYTES
    return bytes(frame)


@cocotb.test(timeout_time=20, timeout_unit="sec")
async def board(dut):
    folder = Path(os.environ["HWBNN_BOARD"])
    run = json.loads((folder / "requests.json").read_text())
    bit_ps = run["bit_ps"]
    dut.uart_rx.value = 1
    dut.reset.value = 0
    Clock(dut.clk25, run["clock_ps"], unit="ps").start()
    if not int(dut.led0.value):
        await with_timeout(RisingEdge(dut.led0), 1000 * run["clock_ps"], "ps")
    await Timer(20 * run["clock_ps"], unit="ps")
    answers = []
    for pieces in run["frames"]:
        wanted = Queue()
        waiting = cocotb.start_soon(receive(dut, wanted, run["next"], bit_ps))
        await send_pieces(dut, pieces, wanted, bit_ps)
        answers.append((await waiting).hex())
        assert int(dut.led2.value) == 0, "the device lost a byte"
    (folder / "answers.json").write_text(json.dumps(answers))
