"""The results as tables; a column of numbers names the path they come from."""

from hwbnn.report.quantity import Column, Measurement, Table, from_json
from hwbnn.report.view import Section

__all__ = ["tables"]


def tables(result: dict) -> list[Section]:
    """Sections of results.md."""
    return [_how(result), _machines(result), *map(_layers, result["machines"]), _frame(result),
            _search(result), *_stages(result)]


def _how(result: dict) -> Section:
    rows = result["machines"]
    return Section("How", [
        (f"`python benchmarks/engine/run.py`, {result['date']}, {result['seconds']} s on "
         f"{result['cores']} cores (load average {result['load']}), of which the search "
         f"{result['search_seconds']} s. {', '.join(rows[0]['tools'])}."),
        ("rtl-sim: counted by Verilator on the generated Verilog, every stored word compared "
         "with the integer network. estimate: the schedule or the planner. On every machine below "
         "the predicted cycles of every step, the latency and the interval equal the simulated "
         "ones; the benchmark fails where one differs."),
    ])


def _machines(result: dict) -> Section:
    section = Section("Machines")
    table = Table(
        Column("machine"), Column("asked for by"), Column("binary MAC a cycle", right=True),
        Column("cycles a frame, estimate", "estimate"), Column("cycles, rtl-sim", "rtl-sim"),
        Column("binary array over the frame, rtl-sim", "rtl-sim"),
        Column("in its own steps, rtl-sim", "rtl-sim"),
        Column("its least step, rtl-sim", "rtl-sim"),
        Column("multipliers in their own steps, rtl-sim", "rtl-sim"),
        Column("TRELLIS_COMB, estimate", "estimate"), Column("DSPs, estimate", "estimate"))
    for row in result["machines"]:
        totals, resources = row["totals"], row["resources"]
        binary = [step["utilisation"]["rtl-sim"] for step in row["layers"]
                  if step["kind"] == "binary"]
        table.add(
            row["machine"], row["asked"], totals["binary"]["capacity"],
            from_json(row["performance"]["interval"]["estimate"]),
            from_json(row["performance"]["interval"]["rtl-sim"]),
            from_json(totals["binary"]["of_the_frame"]["rtl-sim"]),
            from_json(totals["binary"]["in_its_steps"]["rtl-sim"]),
            from_json(min(binary, key=lambda entry: entry["value"])),
            from_json(totals["dense"]["in_its_steps"]["rtl-sim"]),
            from_json(resources["comb"]["estimate"]), from_json(resources["dsp"]["estimate"]))
    section.tables.append(table)
    return section


def _layers(row: dict) -> Section:
    section = Section(f"Layers of {row['machine']}")
    table = Table(Column("step"), Column("unit"), Column("output"), Column("MAC", right=True),
                  Column("cycles, estimate", "estimate"), Column("cycles, rtl-sim", "rtl-sim"),
                  Column("utilisation, rtl-sim", "rtl-sim"), Column("bound"))
    for step in row["layers"]:
        table.add(step["name"], step["kind"], "x".join(map(str, step["shape"])), step["macs"],
                  from_json(step["cycles"]["estimate"]), from_json(step["cycles"]["rtl-sim"]),
                  from_json(step["utilisation"]["rtl-sim"]), step["bound"])
    section.tables.append(table)
    sim = row["simulation"]
    section.text.append(f"{sim['frames']} frames back to back ({sim['images']}), "
                        f"{sim['words_compared']:,} memory words equal.")
    return section


def _frame(result: dict) -> Section:
    section = Section("Where a frame's cycles go")
    table = Table(Column("machine"), *(Column(f"{name}, rtl-sim", "rtl-sim") for name in
                  ("cycles a frame", "binary steps", "multi-bit steps", "scan of the logits",
                   "multi-bit share")))

    def simulated(value, unit="cycles"):
        return Measurement(value, unit, "rtl-sim")

    for row in result["machines"]:
        frame = row["performance"]["interval"]["rtl-sim"]["value"]
        spent = {kind: sum(step["cycles"]["rtl-sim"]["value"] for step in row["layers"]
                           if step["kind"] == kind) for kind in ("binary", "dense")}
        table.add(row["machine"], simulated(frame), simulated(spent["binary"]),
                  simulated(spent["dense"]), simulated(frame - spent["binary"] - spent["dense"]),
                  simulated(100 * spent["dense"] / frame, "%"))
    section.tables.append(table)
    return section


def _search(result: dict) -> Section:
    found = result["search"]
    section = Section("Search on the 85F")
    columns = {"cycles": "cycles a frame", "used": "binary array over the frame",
               "binary_cycles": "binary steps", "dense_cycles": "multi-bit steps",
               "comb": "TRELLIS_COMB", "ebr": "block RAMs", "dsp": "DSPs"}
    table = Table(Column("which"), Column("machine"), Column("binary MAC a cycle", right=True),
                  Column("multiplications a cycle", right=True),
                  *(Column(f"{title}, estimate", "estimate") for title in columns.values()))
    names = {"fastest": "fewest cycles",
             "fastest_with_aim": f"fewest cycles with {found['aim']:g} % or more",
             "best_used": "highest utilisation"}
    for key, title in names.items():
        row = found[key]
        table.add(title, row["machine"], row["binary_macs"], row["dense_macs"],
                  *(from_json(row[name]) for name in columns))
    section.tables.append(table)
    section.text.append(
        f"{found['tried']} machines were tried (S, P, T, K and constant words of the planner's "
        f"grid), {found['fit']} fit the device, {found['reach']} of these reach "
        f"{found['aim']:g} % over the frame. None of these has more than {found['limit']:,} "
        "binary MAC a cycle.")
    return section


RUNS = {"first": "no cache", "empty": "empty build cache", "warm": "warm build cache"}


def _stages(result: dict) -> list[Section]:
    section = Section("Compile without place and route")
    for row in result["machines"]:
        section.tables.append(_stage_table(row))
    section.text.append(
        "Seconds of `hwbnn compile --stop-after verify`, wall clock but for the last row. A "
        "stage's MiB is the peak of hwbnn's own process, as in report.json; that of the whole "
        "command is the largest single process, the C++ compiler included. Warm build cache: the "
        "simulator of this machine exists. No cache: YoWASP, too, must first turn yosys into "
        "machine code, which happens once after installation.")
    return [section]


def _stage_table(row: dict) -> Table:
    """Stages down, runs across."""
    runs = [row["runs"][name] for name in RUNS if name in row["runs"]]
    columns = [Column("stage")]
    for name in RUNS:
        if name in row["runs"]:
            columns += [Column(f"s, {RUNS[name]}", right=True), Column("MiB", right=True)]
    table = Table(*columns, title=f"{row['machine']} ({row['asked']})")
    for stages in zip(*(run["stages"] for run in runs), strict=True):
        names = {stage["name"] for stage in stages}
        if len(names) != 1:
            raise ValueError(f"runs with different stages: {names}")
        table.add(names.pop(), *_cells(stages, "seconds", "peak_mib"))
    table.add("whole command", *_cells(runs, "seconds", "largest_process_mib"))
    table.add("CPU time with all tools", *_cells(runs, "cpu_seconds", None))
    return table


def _cells(entries, seconds: str, peak: str | None) -> list:
    return [cell for entry in entries
            for cell in (f"{entry[seconds]:.1f}", entry[peak] if peak else None)]
