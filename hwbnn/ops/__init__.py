"""Ops: one frozen dataclass each, with its type rule and its meaning on arrays."""

from . import float_dynamic as float_dynamic
from . import float_gain as float_gain
from . import float_levels as float_levels
from . import float_ops as float_ops
from . import int_dynamic as int_dynamic
from . import int_gain as int_gain
from . import int_levels as int_levels
from . import int_ops as int_ops
