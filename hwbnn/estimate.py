"""Resources of an engine before synthesis: exact for block RAM and multipliers, fitted for LUTs.

The array's coefficient comes from benchmarks/array, lane and base from two routed engines of the
bundled example (S=32, T=1, K=16): P=4 14,809 and P=8 22,033 TRELLIS_COMB. The rest are counts of
what the units are made of. A report shows the error of each estimate beside the routed number.
"""

import dataclasses

from rtl_gen.engine.config import EngineConfig
from rtl_gen.engine.first_config import FirstConfig

from .ebr import ebr_blocks
from .multipliers import multipliers

__all__ = ["Resources", "estimate"]

# TRELLIS_COMB, from routed designs on LFE5U-85F
PER_ARRAY_MAC = 1.62
PER_LANE = 744.0
# without activation and constant threshold: S=16 P=16 T=2 K=2 of SD-BNN's ResNet-20 has 20,617 LUT4
# and 8,371 CCU2C (yosys)
PER_LANE_PLAIN = 650.0
PER_DENSE_MAC = 34.0
# an input of a lane's sum by adders, as yosys counts the units (benchmarks/multipliers)
PER_SIGNED_INPUT, PER_SIGNED_INPUT_FF = 19.6, 23.7
# more of a lane whose scale is made by shifts, by the number of its terms: LUTs, flip-flops
SHIFT_ADD = {0: (0, 0), 1: (206, 108), 2: (328, 181), 3: (585, 254)}
PER_WINDOW_BIT = 4.6  # window multiplexers, bit map merge
PER_LANE_CONSTANT = 0.25  # a bit of the constants of a lane
BASE = 4225.0
# the stem of 8 lanes as nextpnr packs it, and what a pair of products costs without a multiplier
STEM_COMB, STEM_FF = 6564.0, 9066
STEM_PER_LOGIC_PAIR = 300.0
UNIT_PER_VALUE = 20.0  # of a pass, and of choosing between memories
UNIT_COMB = 1200.0  # a threshold unit without its lane, and the second frame's memories
FIRST_COMB = 900.0  # a unit for the first 3x3 convolution without its products
STREAM_COMB = 1000.0  # SDRAM controller, weight stream
# more of a lane with gains of the image, of a product of two maps, and of gains of sigmoids, as
# yosys counts the units
GAIN_COMB, GAIN_FF, PRODUCT_COMB, PRODUCT_FF = 170.0, 130, 215.0, 45
SCALE_COMB, SCALE_FF = 140.0, 300
# of a unit that moves maps off chip, and of each bit of its words: counts of its registers and
# multiplexers, not measured
MOVE_COMB, MOVE_FF, MOVE_COMB_BIT, MOVE_FF_BIT = 300.0, 200, 4.0, 3
# of a unit that brings maps to levels, and of each lane and pixel of its words: yosys' counts of 4
# and 8 lanes are 1,240 and 1,685 LUT4, 238 and 301 CCU2C, 1,313 and 1,850 flip-flops
LEVELS_COMB, LEVELS_FF, LEVEL_COMB, LEVEL_FF = 1150.0, 780, 143.0, 134


@dataclasses.dataclass(frozen=True)
class Resources:
    """Predicted use (path: estimate): TRELLIS_COMB, flip-flops, block RAMs, multipliers."""

    comb: int
    ff: int
    ebr: int
    dsp: int


def estimate(config: EngineConfig) -> Resources:
    """Resources of the engine of ``config``."""
    lanes = config.lanes * config.pixels
    window = 9 * config.channels_in * config.pixels + 2 * config.pixels * config.channels_in * 3
    per_lane = PER_LANE_PLAIN if config.rprelu == "none" and config.run_time else PER_LANE
    comb = (
        PER_ARRAY_MAC * config.array_macs
        + per_lane * lanes
        + PER_DENSE_MAC * config.dense_macs
        + PER_WINDOW_BIT * window
        + PER_LANE_CONSTANT * config.const_layout.size * config.lanes
        + BASE
    )
    if config.has_codebook:
        # a 9-bit table in distributed RAM per input channel
        comb += config.channels_in * (9 * max(1, 1 << (config.id_bits - 4)) * 1.5 + 9)
    ff = (
        4.5 * config.array_macs
        + 420 * lanes
        + config.dense_macs * (2 * config.weight_bits + 28)
        + 2 * config.const_layout.size * config.lanes
        + 3 * window
        + 3500
    )
    ebr = sum(
        ebr_blocks(width, depth) for width, depth in config.memories().values()
    )
    comb += SHIFT_ADD[config.scale_digits][0] * lanes
    ff += SHIFT_ADD[config.scale_digits][1] * lanes
    if config.signed_sums:
        comb += PER_SIGNED_INPUT * config.dense_macs + config.acc_bits * lanes
        ff += PER_SIGNED_INPUT_FF * config.dense_macs
    if config.gains is not None:
        products = lanes * bool(config.gains.product_shifts)
        comb += GAIN_COMB * lanes + PRODUCT_COMB * products + SCALE_COMB
        ff += GAIN_FF * lanes + PRODUCT_FF * products + SCALE_FF
    if config.moves:
        comb += MOVE_COMB + MOVE_COMB_BIT * lanes * config.feature_bits
        ff += MOVE_FF + MOVE_FF_BIT * lanes * config.feature_bits
    if config.levels:
        comb += LEVELS_COMB + LEVEL_COMB * lanes
        ff += LEVELS_FF + LEVEL_FF * lanes
    if isinstance(config.stem, FirstConfig):
        comb += FIRST_COMB + PER_DENSE_MAC * config.stem.macs
        ff += config.stem.macs * 40 + config.stem.lanes * config.stem.acc_bits
    elif config.stem is not None:
        stem = config.stem
        comb += STEM_COMB + STEM_PER_LOGIC_PAIR * stem.logic_pairs
        ff += STEM_FF
    if config.beside:
        comb += UNIT_COMB + per_lane + UNIT_PER_VALUE * lanes * config.pass_words
        ff += 2000
    if config.streams:
        ebr += 1  # between the SDRAM and the engine
        comb += STREAM_COMB
    if config.batch > 1:
        ebr += 1  # what the host sends while the engine is busy
    return Resources(round(comb), round(ff), ebr, sum(multipliers(config).values()))
