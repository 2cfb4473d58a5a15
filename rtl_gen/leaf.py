"""Leaf modules: parts that are converted and synthesised once, however often they occur."""

__all__ = ["leaf"]


def leaf(component, platform):
    """Hand ``component`` to the platform to be emitted once under its own module name.

    A leaf has ``leaf_name``, a string that is equal for two components exactly when they are the
    same hardware, and may have ``leaf_synth``, the yosys options that suit it. A platform with
    ``get_leaf`` returns an instance by that name wired to the component's ports; any other
    platform (simulation) gets the component itself.
    """
    hook = getattr(platform, "get_leaf", None)
    return hook(component) if hook is not None else component
