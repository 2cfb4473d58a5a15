"""report.json as sections of text and typed tables, which the templates only lay out."""

from .multipliers import multiplier_section
from .quantity import Column, Table, from_json, show
from .section import Section

__all__ = ["sections"]


def sections(doc: dict) -> list[Section]:
    """Sections in reading order; those that the report has nothing for are left out."""
    makers = (_summary, _layers, _resources, multiplier_section, _agreement, _accuracy, _claims,
              _machine, _decisions, _stages)
    made = [section for maker in makers if (section := maker(doc)) is not None]
    for section in made:
        section.tables = [table for table in section.tables if table.rows]
    return made


def _get(entry: dict | None, *keys: str):
    """A quantity below ``entry``, or None where the report has none."""
    for key in keys:
        entry = (entry or {}).get(key)
    return from_json(entry)


def _q(entry: dict | None, *keys: str) -> str:
    """A quantity in a sentence: number, unit, path."""
    quantity = _get(entry, *keys)
    return f"{show(quantity, unit=True)} ({quantity.path})" if quantity else ""


def _facts(rows) -> Table:
    table = Table(Column(""), Column(""))
    for name, value in rows:
        if value not in (None, ""):
            table.add(name, show(value) if not isinstance(value, str) else value)
    return table


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _summary(doc: dict) -> Section:
    net, board, perf = doc["network"], doc.get("board"), doc.get("performance", {})
    section = Section("Summary")
    c, h, w = net["input"]
    bits = sorted(set(net["kernel_bits"]))
    stored = ("as plain bits (one-bit baseline)" if net["one_bit"] else
              f"in {' and '.join(map(str, bits))} bits a kernel")
    facts = [
        ("network", f"{net['file']}, family {net['family']}"),
        ("image", f"{c}x{h}x{w}, {net['preprocess']}"),
        ("classes", net["classes"]),
        ("checkpoint", f"sha256 {net['sha256'][:16]}"),
        ("binary convolutions", len(net["kernel_bits"])),
        ("binary MAC a frame", net["binary_macs"]),
        ("binary weights", f"{net['binary_weights']:,}, stored {stored}"),
    ]
    if board:
        facts.append(("board", f"{board['name']} ({board['part']})"))
        facts.append(("machine", doc["machine"]["shape"]))
    if doc.get("bitstream"):
        facts.append(("bitstream", doc["bitstream"]))
    if doc.get("weights"):
        weights = doc["weights"]
        least = min(v for k, v in weights["margins_ns"].items() if k != "read_delay")
        words = f"{weights['words']:,} words of 16 bits, CRC-32 {weights['crc32']:08x}"
        facts.append(("weights in SDRAM", f"{weights['file']}, {words}"))
        how = "by data-sheet arithmetic, not measured (docs/sdram.md)"
        phase = f"clock {weights['phase_degrees']:g} degrees late"
        facts.append(("margin at the SDRAM's pins", f"{least:.2f} ns, {phase}, {how}"))
    section.tables.append(_facts(facts))
    missing = [s for s in ("plan", "verify", "build") if s not in doc["stages_finished"]]
    if missing:
        section.text.append(f"Not run: {', '.join(missing)}. What they would measure is absent.")
    if perf:
        section.tables.append(_performance(doc))
    if "serial" in perf:
        serial = perf["serial"]
        section.text.append(
            "Frames per second are the post-route clock over simulated cycles of the accelerator "
            "alone. No board was measured. Over the serial port at "
            f"{serial['baud']:,} baud an image takes {serial['seconds_per_image'] * 1e3:.3g} ms, "
            "which bounds the rate from a host.")
    if "simulation" in doc:
        sim = doc["simulation"]
        section.text.append(
            f"Simulation: {_count(sim['frames'], 'frame')} back to back ({sim['images']}), "
            f"{sim['words_compared']:,} memory words and every logit equal to the integer network; "
            "cycles of every frame and step as predicted.")
    section.text += [f"Warning: {w}" for w in doc["warnings"]]
    return section


def _performance(doc: dict) -> Table:
    perf, clock = doc["performance"], doc.get("clock", {})
    path = "post-route / rtl-sim"
    table = Table(Column("speed"), Column("estimate", "estimate"), Column("rtl-sim", "rtl-sim"),
                  Column("post-route", "post-route"), Column(path, path), Column("unit"))
    of = f" of a batch of {perf['batch']} images" if "batch" in perf else ""
    for name, key in ((f"latency{of}", "latency"), (f"initiation interval{of}", "interval"),
                      ("interval an image, batch / images", "per_image")):
        if key not in perf:
            continue
        entry = perf[key]
        table.add(name, _get(entry, "estimate"), _get(entry, "rtl-sim"), None, None, "cycles")
    if clock:
        table.add("Fmax", None, None, _get(clock, "fmax"), None, "MHz")
        table.add("clock of the bitstream (PLL)", None, None, _get(clock, "clock"), None, "MHz")
    if "fps" in perf:
        basis = perf["fps"]["estimate"]["basis"].split(" / ")[0]
        table.add(f"frames per second, {basis}", _get(perf, "fps", "estimate"), None, None, None,
                  "frames/s")
    for name, key in (("at Fmax", "fmax"), ("at the bitstream's clock", "clock")):
        if f"fps_at_{key}" in perf:
            table.add(f"frames per second {name}", None, None, None, _get(perf, f"fps_at_{key}"),
                      "frames/s")
        if f"latency_at_{key}" in perf:
            table.add(f"latency {name}{of}", None, None, None, _get(perf, f"latency_at_{key}"),
                      "us")
    return table.without_empty_columns()


def _layers(doc: dict) -> Section | None:
    if "layers" not in doc:
        return None
    section = Section("Layers")
    table = Table(
        Column("step"), Column("array"), Column("output"), Column("MAC", right=True),
        Column("cycles, estimate", "estimate", "cycles"),
        Column("cycles, rtl-sim", "rtl-sim", "cycles"),
        Column("waiting, estimate", "estimate", "cycles"),
        Column("utilisation, estimate", "estimate", "%"),
        Column("utilisation, rtl-sim", "rtl-sim", "%"),
        Column("bound"), Column("weight words", right=True),
    )
    for row in doc["layers"]:
        table.add(row["name"], row["kind"], "x".join(map(str, row["shape"])), row["macs"],
                  _get(row, "cycles", "estimate"), _get(row, "cycles", "rtl-sim"),
                  _get(row, "wait"), _get(row, "utilisation", "estimate"),
                  _get(row, "utilisation", "rtl-sim"), row["bound"], row["memory"])
    section.tables.append(table.without_empty_columns())
    totals = Table(Column("array"), Column("MAC a cycle", right=True),
                   Column("MAC a frame", right=True),
                   Column("in its own steps, estimate", "estimate", "%"),
                   Column("in its own steps, rtl-sim", "rtl-sim", "%"),
                   Column("of the frame, estimate", "estimate", "%"),
                   Column("of the frame, rtl-sim", "rtl-sim", "%"), title="Utilisation in total")
    for kind, entry in doc["totals"].items():
        totals.add(kind, entry["capacity"], entry["macs"],
                   _get(entry, "in_its_steps", "estimate"), _get(entry, "in_its_steps", "rtl-sim"),
                   _get(entry, "of_the_frame", "estimate"), _get(entry, "of_the_frame", "rtl-sim"))
    section.tables.append(totals.without_empty_columns())
    if "batch" in doc["performance"]:
        section.text.append(f"Cycles and MAC are those of a batch of {doc['performance']['batch']} "
                            "images.")
    section.text.append(
        "A step computes one convolution and everything behind it up to the next. Utilisation is "
        "multiply-accumulates over what the array could do in the same cycles; padded taps count "
        "as work. Bound names what the step waits for.")
    barrier = [row for row in doc["layers"] if row["bound"] == "barrier"]
    if barrier:
        cycles, whole = (sum(_get(row, "cycles", "estimate").value for row in rows)
                         for rows in (barrier, doc["layers"]))
        section.text.append(
            f"Barrier: {len(barrier)} steps between a map and its bits (dense layers on its "
            f"channel means, and what applies their result to the map) take {cycles:,} of "
            f"{whole:,} cycles, {100 * cycles / whole:.1f} % (estimate).")
    return section


def _resources(doc: dict) -> Section | None:
    if "resources" not in doc:
        return None
    section = Section("Resources")
    table = Table(Column("resource"), Column("available", right=True),
                  Column("estimate", "estimate"), Column("post-route", "post-route"),
                  Column("used, post-route", right=True), Column("estimate's error", right=True))
    for name, row in doc["resources"].items():
        estimate, used = _get(row, "estimate"), _get(row, "post-route")
        share = f"{100 * used.value / row['available']:.1f} %" if used else None
        error = f"{row['error_percent']:+.1f} %" if "error_percent" in row else None
        table.add(f"{name} ({row['primitive']})", row["available"], estimate, used, share, error)
    section.tables.append(table.without_empty_columns())
    if clock := doc.get("clock"):
        section.text.append(
            f"Routed for {clock['routed_for_mhz']:.4g} MHz from seed {clock['seed']}; reached "
            f"{_q(clock, 'fmax')}; the PLL makes {clock['clock']['value']:.4g} MHz, which the "
            f"routed design {'meets' if clock['met'] else 'does NOT meet'}. The data sheet caps "
            f"this speed grade at {clock['data_sheet_cap_mhz']:.4g} MHz "
            f"({clock['data_sheet_cap_by']}).")
        if len(clock.get("expected", ())) > 1:
            placed = Table(Column("seed of the placement"),
                           Column("clock before routing (estimate)", "estimate"), Column(""))
            for seed in clock.get("expected", ()):
                chosen = "routed" if seed == str(clock["seed"]) else ""
                placed.add(seed, _get(clock, "expected", seed), chosen)
            section.tables.append(placed)
    return section


def _agreement(doc: dict) -> Section | None:
    found = doc.get("agreement")
    if found is None:
        return None
    section = Section("Agreement with PyTorch")
    section.text.append(
        f"On {found['n_images']} images ({found['images']}): top-1 agrees on "
        f"{_q(found, 'top1')}; largest logit error {_q(found, 'max_logit_error')}, mean "
        f"{_q(found, 'mean_logit_error')}, where PyTorch's logits have a deviation of "
        f"{_q(found, 'logit_spread')}. The float graph, before rounding to integers, is within "
        f"{found['float_graph_error']:.2g} of PyTorch's logits.")
    if "synthetic" in found["images"]:
        section.text.append("These are not pictures: compile with --images, or --eval with "
                            "labelled ones, to measure agreement on your data.")
    table = Table(Column("activation bits of"), Column("compared", right=True),
                  Column("differ, int-model", right=True),
                  Column("agreement, int-model", "int-model", "%"))
    for row in found["layers"]:
        table.add(row["name"], row["bits"], row["differ"], _get(row, "agreement"))
    section.tables.append(table)
    return section


def _accuracy(doc: dict) -> Section | None:
    found = doc.get("accuracy")
    if found is None:
        return None
    section = Section("Accuracy")
    table = Table(Column(f"{found['images']}, {found['n_images']:,} images"),
                  Column("torch-float", "torch-float", "%"), Column("int-model", "int-model", "%"))
    table.add("top-1", _get(found, "torch_float"), _get(found, "int_model"))
    table.add("same class as PyTorch", None, _get(found, "top1_agreement"))
    section.tables.append(table)
    clamped = Table(Column("saturation"), Column("values", right=True),
                    Column("clamped, int-model", "int-model"))
    for row in doc["saturation"]["layers"]:
        clamped.add(row["name"], row["values"], _get(row, "clamped"))
    section.tables.append(clamped)
    return section


def _claims(doc: dict) -> Section | None:
    claim = doc.get("claims")
    if not claim:
        return None
    section = Section("What bit operations claim, and cycles")
    table = Table(Column(""), Column("own bits", right=True), Column("one bit", right=True),
                  Column("ratio", right=True))
    table.add("bit operations, paper's count", round(claim["bops"]), round(claim["plain_bops"]),
              f"{claim['ratio']:.2f}")
    table.add("stored kernel bits", claim["weight_bits"], claim["plain_weight_bits"],
              f"{claim['plain_weight_bits'] / claim['weight_bits']:.2f}")
    table.add("look-ups with an addition", claim["gathers"], 0, "")
    section.tables.append(table)
    cycles = Table(Column("a frame"), Column("cycles, estimate", "estimate"),
                   Column("cycles, rtl-sim", "rtl-sim"),
                   Column("block RAMs for kernels, estimate", "estimate"))
    cycles.add("this build", _get(claim, "cycles", "estimate"), _get(claim, "cycles", "rtl-sim"),
               _get(claim, "kernel_ebr"))
    plain = claim.get("plain")
    if plain and "interval" in plain:
        cycles.add("same machine, one-bit kernels", _get(plain, "interval"), None,
                   _get(plain, "kernel_ebr"))
    section.tables.append(cycles.without_empty_columns())
    section.text.append(
        f"The paper's count gives this network {claim['ratio']:.2f}x over one bit. The paper "
        "reports 3.13x runtime for ResNet-18 at 0.56 bit on its own FPGA design, from a count of "
        "3.34x; it counts a look-up with its addition as half an operation.")
    if plain and "interval" in plain:
        gain = plain["interval"]["value"] / claim["cycles"]["estimate"]["value"]
        section.text.append(
            f"This engine expands kernel IDs while it loads them, so the array does the same work "
            f"at any number of bits: {gain:.2f}x in predicted cycles, and "
            f"{claim['plain_weight_bits'] / claim['weight_bits']:.2f}x in stored kernels. "
            "Compile with --one-bit and run 'hwbnn compare' for simulated cycles of both.")
    elif plain:
        section.text.append(f"The same machine with one-bit kernels: {plain['why_not']}.")
    return section


def _machine(doc: dict) -> Section | None:
    machine = doc.get("machine")
    if machine is None:
        return None
    section = Section("Machine")
    section.text.append(machine["text"])
    table = Table(Column("memory"), Column("bits a word", right=True), Column("words", right=True),
                  Column("block RAMs, estimate", "estimate"))
    for row in machine["memories"]:
        table.add(row["name"], row["width"], row["depth"], from_json(row["ebr"]))
    section.tables.append(table)
    return section


def _decisions(doc: dict) -> Section | None:
    if not doc["decisions"]:
        return None
    section = Section("Decisions")
    table = Table(Column("where"), Column("chose"), Column("why"))
    for row in doc["decisions"]:
        table.add(row["where"], row["chose"], row["why"])
    section.tables.append(table)
    return section


def _stages(doc: dict) -> Section:
    section = Section("How it was made")
    table = Table(Column("stage"), Column("seconds", right=True),
                  Column("peak memory, MiB", right=True), Column("note"))
    for row in doc["stages"]:
        peak = row["peak_bytes"]
        table.add(row["name"], f"{row['seconds']:.1f}", f"{peak / 2**20:.0f}" if peak else "",
                  "kept from an earlier build" if row["cached"] else "")
    section.tables.append(table)
    section.text.append(
        "Seconds are wall clock, memory is resident: of hwbnn's own process for a stage, of the "
        "tool for a row of synthesis, place and route.")
    section.text.append(f"hwbnn {doc['hwbnn']}. Tools: {', '.join(doc['tools']) or 'none ran'}.")
    return section
