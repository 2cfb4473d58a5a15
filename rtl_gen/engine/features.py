"""The feature memories in the engine: who reads and writes them, and when."""

from amaranth.hdl import *

from .common import Ram

__all__ = ["FEATURE_LATENCY", "join_features"]

FEATURE_LATENCY = 3  # of a read: the registered port and the memory's own two cycles


def join_features(m, config, step, reads, writer, stored, xmap, result, unit):
    """Put the feature memory, or one for each half of a frame, behind registered ports.

    ``reads`` are (enable, address) of a step's residuals, ``writer`` walks over the addresses of
    ``stored``; ``unit`` is the threshold unit, where there is one. Returns the word that a step
    read FEATURE_LATENCY ago.
    """
    read_en, read_addr = reads
    write_en, write_addr, write_data = writer.valid & step.f_store, writer.addr, stored
    if config.shared_x:
        # a step reads either residuals or dense inputs, and stores either maps or pooled ones
        from_map = step.from_x
        if config.run_time is not None:
            from_map = step.from_x & ~step.x_vector
        read_en = Mux(from_map, xmap.i_read, read_en)
        read_addr = Mux(from_map, xmap.i_read_addr, read_addr)
        write_en = Mux(step.f_store, write_en, xmap.o_w_en)
        write_addr = Mux(step.f_store, write_addr, xmap.o_w_addr)
        write_data = Mux(step.f_store, stored.as_value(), xmap.o_w_data)
    ports = {
        "r_en": Mux(result.o_busy, result.o_read, read_en),
        "r_addr": Mux(result.o_busy, result.o_addr, read_addr),
        "w_en": write_en,
        "w_addr": write_addr,
        "w_data": write_data,
    }
    if not config.beside:
        word = _memory(m, config, "features", ports)
    else:
        words = [_memory(m, config, f"features{bank or ''}", _of_bank(bank, ports, step, unit))
                 for bank in range(2)]
        word = Mux(step.f_from, words[1], words[0])
        m.d.sync += unit.i_x.eq(Mux(unit.o_entry.bank, words[1], words[0]))
    if config.shared_x:
        m.d.comb += xmap.i_word.eq(word)
    m.d.comb += result.i_word.eq(word)
    return word


def _memory(m, config, name, ports):
    """A memory with registers before its ports; returns what it reads."""
    width, depth = config.memories()[name]
    m.submodules[name] = ram = Ram(name=name, width=width, depth=depth, registered=True)
    for port, value in ports.items():
        register = Signal.like(getattr(ram, port), name=f"{name}_{port}", reset_less=True)
        m.d.sync += register.eq(value)
        m.d.comb += getattr(ram, port).eq(register)
    return ram.r_data


def _of_bank(bank, ports, step, unit):
    """What the step and the threshold unit, which use different memories, do with this one."""
    mine = unit.o_entry.bank == bank
    reads, stores = unit.o_read & mine, unit.o_store & mine
    step_writes = ports["w_en"] & (step.f_to == bank)
    return {
        "r_en": (ports["r_en"] & (step.f_from == bank)) | reads,
        "r_addr": Mux(reads, unit.o_addr, ports["r_addr"]),
        "w_en": step_writes | stores,
        "w_addr": Mux(stores, unit.o_store_addr, ports["w_addr"]),
        "w_data": Mux(stores, unit.o_store_word.as_value(), ports["w_data"]),
    }
