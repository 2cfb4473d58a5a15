"""Latencies of an engine: what the gateware and the schedule both count with."""

from ..units.xnor_array import XnorArray
from . import lane as lane_module
from .bitmap import BitMap
from .config import EngineConfig
from .dense import DenseArray
from .gain import Branch, Products
from .lane import STAGE
from .max_pool import MaxPool
from .sigmoid import SigmoidUnit
from .threshold_unit import unit_drain
from .window import Window
from .xmap import XMap

__all__ = ["Timing", "arrays"]


class Timing:
    """Latencies of one configuration, in cycles; the schedule predicts with the same numbers.

    ``issue_to_x``/``issue_to_d`` count from a registered issue to the sums of the XNOR and the
    dense array.
    """

    def __init__(self, config: EngineConfig):
        xnor, dense = arrays(config)
        for unit in (xnor, dense):
            unit._MustUse__used = True
        self.window = BitMap.READ_LATENCY + Window.LATENCY
        self.dense_in = self.window + 2
        self.issue_to_x = self.window + xnor.latency
        self.issue_to_d = self.dense_in + dense.latency
        longest = max(self.issue_to_x, self.issue_to_d)
        tail, sigmoid = max(XMap.WRITE_LATENCY, 1 + BitMap.WRITE_LATENCY), 0
        if config.gains is not None:
            tail = max(tail, Products.LATENCY + Branch.WRITE_LATENCY)
            sigmoid = SigmoidUnit.GAIN_LATENCY
        self.drain = longest + 2 + lane_module.LATENCY + tail + 2
        if config.max_pool:
            self.drain += MaxPool.LATENCY
        # of a pass over a map, and of a step whose results pass the sigmoid
        self.of_unit = unit_drain()
        self.drains = (self.of_unit,
                       self.drain - tail + config.lanes + XMap.WRITE_LATENCY + sigmoid)
        self.swap_x, self.guard_x = 1 + self.window, xnor.swap_guard
        self.swap_d, self.guard_d = 1 + self.dense_in, dense.swap_guard
        last = STAGE["threshold"]
        if config.thresholds:
            last = STAGE["bias" if config.rprelu == "none" else "act_bias"]
        if config.max_pool:
            last = lane_module.LATENCY
        self.const_hold = longest + 2 + last
        self.const_lead = min(self.issue_to_x, self.issue_to_d) + 2
        # from a step's set-up until its fields reach the lanes (the residual's address is first,
        # in stage 4), and until they reach what stores results
        first = min(self.issue_to_x, self.issue_to_d)
        self.early, self.late = first + 5, first + 1 + lane_module.LATENCY
        # when a step may follow: windows and weights no longer depend on the fields of the one
        # before, and its last results are 10 cycles ahead of where fields change
        self.flow_drain = 6 + self.issue_to_x - first


def arrays(config: EngineConfig) -> tuple[XnorArray, DenseArray]:
    """The two arrays of an engine."""
    xnor = XnorArray(n_inputs=config.window_bits, lanes=config.lanes, pixels=config.pixels)
    dense = DenseArray(
        inputs=config.dense_inputs,
        lanes=config.lanes,
        pixels=config.dense_pixels,
        weight_bits=config.weight_bits,
        acc_bits=config.acc_bits,
        signed_bits=config.feature_bits if config.signed_sums else 0,
    )
    return xnor, dense
