"""Where multipliers and block RAMs go, decided before nextpnr places the logic around them.

nextpnr spreads a device's few hundred blocks well while most of them are free. Where nearly all are
used it gives each one some free site, far from where its logic pulls it, and the wires of the whole
design become two to three times as long (docs/design-notes.md, "Place and route"). So blocks get
their sites here, from a placement of the whole netlist.
"""

from .floorplan import floorplan

__all__ = ["floorplan"]
