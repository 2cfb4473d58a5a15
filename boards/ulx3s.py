"""ULX3S: LFE5U-12F, 25F, 45F or 85F, 25 MHz, FTDI serial, 32 or 64 MB SDRAM."""

from amaranth_boards import ulx3s

from .board import Board, Budget, SpeedCaps, pins_of

# A 12F is a 25F die with another identity: nextpnr offers all of it.
DEVICES = {
    "12F": ("LFE5U-12F", "--12k", Budget(comb=24288, ff=24288, ebr=56, dsp=28)),
    "25F": ("LFE5U-25F", "--25k", Budget(comb=24288, ff=24288, ebr=56, dsp=28)),
    "45F": ("LFE5U-45F", "--45k", Budget(comb=43848, ff=43848, ebr=108, dsp=72)),
    "85F": ("LFE5U-85F", "--85k", Budget(comb=83640, ff=83640, ebr=208, dsp=156)),
}
DEFAULT_DEVICE = "85F"
MEMORIES = {"": 32, "-64mb": 64}  # MB of SDRAM on the same pins; boards of either kind are sold

# ECP5 family data sheet, FPGA-DS-02012. No copy of its tables was at hand, so these numbers are
# provisional, from memory of them: primary clock tree 370 / 303 / 257 MHz for speed 8 / 7 / 6;
# register-to-register performance at speed 8 272 MHz for block RAM (with output registers) and
# 225 MHz for 18x18 multipliers (all registers), derated here by the clock tree's ratio because
# the table gives speed 8 alone.
SPEED_CAPS = {
    "6": SpeedCaps(clock_tree=257, ebr=188, dsp=156),
    "7": SpeedCaps(clock_tree=303, ebr=222, dsp=184),
    "8": SpeedCaps(clock_tree=370, ebr=272, dsp=225),
}

# wifi_gpio0 driven high keeps the ESP32 from taking the board over; reset is the FIRE1 button.
PORTS = {
    "clk25": ("clk25", 0),
    "uart_rx": ("uart", 0, "rx"),
    "uart_tx": ("uart", 0, "tx"),
    "reset": ("button_fire", 0),
    "wifi_gpio0": ("esp32", 0, "gpio0"),
    **{f"led{n}": ("led", n) for n in range(8)},
    # one port a pin: what drives them (rtl_gen/sdram/pads.py) has a buffer for each
    "sdram_clk": ("sdram", 0, "clk"),
    "sdram_cke": ("sdram", 0, "clk_en"),
    **{f"sdram_{name}_n": ("sdram", 0, name) for name in ("cs", "ras", "cas", "we")},
    **{
        f"sdram_{name}{bit}": ("sdram", 0, name, bit)
        for name, width in (("ba", 2), ("a", 13), ("dqm", 2), ("dq", 16))
        for bit in range(width)
    },
}

BOARDS = tuple(
    Board(
        name=f"ulx3s-{device.lower()}{suffix}",
        part=part,
        budget=budget,
        caps=SPEED_CAPS[ulx3s.ULX3S_85F_Platform.speed],
        nextpnr=(flag, "--package", "CABGA381", "--speed", ulx3s.ULX3S_85F_Platform.speed),
        clock_hz=25_000_000,
        pins=pins_of(ulx3s.ULX3S_85F_Platform, PORTS),
        baud=3_000_000,
        sdram_bytes=megabytes << 20,
    )
    for device, (part, flag, budget) in DEVICES.items()
    for suffix, megabytes in MEMORIES.items()
)
