"""Boards: names, devices, pins."""

import dataclasses

import pytest

import boards


def test_names_and_default_device():
    assert boards.board_names() == [f"ulx3s-{device}{memory}" for device in
                                    ("12f", "25f", "45f", "85f") for memory in ("", "-64mb")]
    assert boards.get_board("ulx3s").part == "LFE5U-85F"
    assert boards.get_board("ulx3s", device="12F") is boards.get_board("ULX3S-12F")


@pytest.mark.parametrize("name", boards.board_names())
def test_every_name_is_found(name):
    assert boards.get_board(name).name == name


@pytest.mark.parametrize(
    ("name", "device"), [("ulx4s", None), ("ulx3s", "86F"), ("ulx3s-12f", "85F"), ("", None)]
)
def test_an_unknown_one_lists_what_exists(name, device):
    with pytest.raises(boards.UnknownBoard, match="there are ulx3s-12f, .*ulx3s-85f"):
        boards.get_board(name, device)


def test_pins_are_those_of_the_board_package():
    board = boards.get_board("ulx3s")
    assert board.pin("clk25").site == "G2"
    assert board.pin("uart_rx").site == "M1"
    assert board.pin("uart_tx").site == "L4"
    assert board.pin("led7").site == "H3"
    assert board.pin("wifi_gpio0").site == "L2"
    assert ("IO_TYPE", "LVCMOS33") in board.pin("reset").attrs
    assert ("PULLMODE", "DOWN") in board.pin("reset").attrs
    assert not any(pin.invert for pin in board.pins)
    # LDQM goes with dq0 to dq7
    sdram = {"clk": "F19", "cke": "F20", "we_n": "T20", "ba1": "N20", "a12": "G19", "dqm0": "U19"}
    assert {name: board.pin(f"sdram_{name}").site for name in sdram} == sdram
    assert board.pin("sdram_dq15").site == "J17" and board.pin("sdram_dq0").site == "J16"
    assert ("SLEWRATE", "FAST") in board.pin("sdram_dq9").attrs
    assert len({pin.site for pin in board.pins}) == len(board.pins)
    with pytest.raises(LookupError, match="no port 'hdmi'"):
        board.pin("hdmi")


def test_boards_are_sold_with_more_memory():
    small, large = (boards.get_board("ulx3s", d) for d in ("85F", "85F-64MB"))
    assert (small.sdram_bytes, large.sdram_bytes) == (32 << 20, 64 << 20)
    assert large == dataclasses.replace(small, name="ulx3s-85f-64mb", sdram_bytes=64 << 20)


def test_devices_grow():
    found = [boards.get_board("ulx3s", d).budget for d in ("25F", "45F", "85F")]
    for small, large in zip(found, found[1:], strict=False):
        assert small.comb < large.comb and small.ebr < large.ebr and small.dsp < large.dsp
