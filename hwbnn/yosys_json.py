"""The netlist that yosys hands to nextpnr as JSON: its top module, numbers of its nets."""

__all__ = ["free_bit", "top_module"]


def top_module(design: dict) -> dict:
    """The module with the cells: a flattened netlist has one beside the library's."""
    return max(design["modules"].values(), key=lambda module: len(module.get("cells", {})))


def free_bit(module: dict) -> int:
    """The least number above those of all nets, named but unconnected ones among them."""
    used = [bits for cell in module.get("cells", {}).values()
            for bits in cell["connections"].values()]
    used += [net["bits"] for net in module.get("netnames", {}).values()]
    used += [port["bits"] for port in module.get("ports", {}).values()]
    return 1 + max((bit for bits in used for bit in bits if isinstance(bit, int)), default=1)
