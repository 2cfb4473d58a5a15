"""What of the weight stream belongs to a step."""

from rtl_gen.engine.config import EngineConfig

__all__ = ["step_segments", "step_words"]


def step_segments(step, config: EngineConfig) -> list[tuple[str, int]]:
    """(kind, memory words) of the segments of a step: itself, where the program is in the stream,
    and where it is streamed, by output group, constants and tiles. A step that covers only some
    rows of a layer has its layer's weights again."""
    itself = [("steps", config.step_words)] if config.streamed_steps else []
    if not step.streamed:
        return itself
    group = [("constants", config.lanes * config.const_words)]
    if not step.layer.weightless:
        kind = "weights" if step.layer.binary else "dense_weights"
        group.append((kind, step.n_ig * config.lanes))
    return itself + group * step.n_og


def step_words(step, config: EngineConfig) -> int:
    """16-bit words of them, headers included."""
    parts = config.stream_parts
    return sum(1 + count * parts[kind] for kind, count in step_segments(step, config))
