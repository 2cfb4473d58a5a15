"""report.json: everything the stages found, each number with its path."""

from pathlib import Path

from .. import __version__
from .quantity import Estimate, Measurement

__all__ = ["FORMAT", "assemble"]

FORMAT = 1
SCHEDULE = "schedule"
# Names that the report uses for nextpnr's resources and for the planner's.
RESOURCES = {"comb": "TRELLIS_COMB", "ff": "TRELLIS_FF", "ebr": "DP16KD", "dsp": "MULT18X18D"}


def assemble(records: dict, options: dict) -> dict:
    """The report as JSON.

    Parameters
    ----------
    records : {stage: hwbnn.folder.Record}
        Stages that finished; what the others would say is absent.
    options : dict
        Of the compile.
    """
    facts = {stage: record.facts for stage, record in records.items()}
    check, plan = facts.get("check", {}), facts.get("plan")
    verify, build = facts.get("verify"), facts.get("build")
    doc = {
        "format": FORMAT,
        "hwbnn": __version__,
        "stages_finished": [s for s in records if s != "report"],
        "network": {
            "file": Path(options["checkpoint"]).name,
            "sha256": records["check"].inputs["checkpoint"],
            "one_bit": options["one_bit"],
            **{k: check[k] for k in ("family", "checkpoint", "input", "preprocess", "classes",
                                     "numeric", "binary_macs", "binary_weights", "kernel_bits")},
        },
        "decisions": check["decisions"],
        "warnings": check["warnings"],
    }
    if plan:
        doc["board"] = plan["board"]
        doc["machine"] = plan["machine"]
        doc["layers"] = _layers(plan, verify)
        doc["totals"] = _totals(plan, verify)
        doc["resources"] = _resources(plan, build)
        if "multipliers" in plan:
            doc["multipliers"] = _multipliers(plan, build)
        doc["performance"] = _performance(plan, verify, build)
        doc["claims"] = _claims(plan, doc)
    if build:
        doc["clock"] = _clock(build)
        doc["bitstream"] = build["file"]
        if "weights" in build:
            doc["weights"] = build["weights"]
    if verify:
        doc["simulation"] = {k: verify[k] for k in ("images", "frames", "words_compared")}
    if "evaluate" in facts:
        doc["agreement"] = _agreement(facts["evaluate"])
        if "accuracy" in facts["evaluate"]:
            doc["accuracy"] = _accuracy(facts["evaluate"]["accuracy"])
            doc["saturation"] = _saturation(facts["evaluate"]["accuracy"])
    doc["stages"] = _stages(records)
    doc["tools"] = _tools(facts)
    return doc


def _cycles(value: float) -> dict:
    return Estimate(value, "cycles", SCHEDULE).to_json()


def _simulated(value: float, unit: str = "cycles", basis: str = "") -> dict:
    return Measurement(value, unit, "rtl-sim", basis).to_json()


def _share(macs: int, capacity: int, predicted: int, simulated: int | None) -> dict:
    """What a unit did of what it could have done, by path.

    Absent where it did more: the stem works while the steps of other layers run, so that its own
    steps say nothing about it. Absent, too, where no array computes.
    """
    if not capacity:
        return {}
    shares = {"estimate": Estimate(_percent(macs, capacity, predicted), "%", SCHEDULE)}
    if simulated is not None:
        shares["rtl-sim"] = Measurement(_percent(macs, capacity, simulated), "%", "rtl-sim")
    return {path: share.to_json() for path, share in shares.items() if share.value <= 100}


def _percent(macs: int, capacity: int, cycles: int) -> float:
    return 100 * macs / (capacity * cycles)


def _layers(plan: dict, verify: dict | None) -> list[dict]:
    """A row per layer: what it computes, its cycles both ways, its share of the array."""
    took = step_cycles(verify["step_ends"][-1]) if verify else None
    rows = []
    for step, own in _by_layer(plan["steps"]):
        row = {k: step[k] for k in ("name", "kind", "shape", "macs", "bound", "memory")}
        row["cycles"] = {"estimate": _cycles(step["cycles"])}
        row["compute"] = _cycles(step["compute"])
        row["wait"] = _cycles(step["wait"])
        row["overhead"] = _cycles(step["overhead"])
        took_cycles = sum(took[i] for i in own) if took else None
        row["utilisation"] = _share(step["macs"], step["capacity"], step["cycles"], took_cycles)
        if took:
            row["cycles"]["rtl-sim"] = _simulated(took_cycles)
        rows.append(row)
    return rows


def _by_layer(steps: list[dict]) -> list[tuple[dict, list[int]]]:
    """Each layer's steps as one, and their numbers; its bound is that of the longest wait."""
    groups: dict[str, list[int]] = {}
    for i, step in enumerate(steps):
        groups.setdefault(step.get("layer", step["name"]), []).append(i)
    result = []
    for name, own in sorted(groups.items(), key=lambda g: steps[g[1][0]].get("index", g[1][0])):
        parts = [steps[i] for i in own]
        whole = dict(max(parts, key=lambda p: p["wait"]))
        if len(own) > 1:
            whole |= {"name": name, "shape": parts[0]["layer_shape"]}
            for key in ("cycles", "compute", "wait", "overhead", "macs"):
                whole[key] = sum(p[key] for p in parts)
        result.append((whole, own))
    return result


def step_cycles(ends: list[int]) -> list[int]:
    """Cycles of each step, from the cycle of a frame (the first is 0) in which each one ends."""
    return [end - before for before, end in zip([-1, *ends[:-1]], ends, strict=True)]


def _totals(plan: dict, verify: dict | None) -> dict:
    totals = {}
    for kind in ("binary", "dense", "signed", "stem"):
        steps = [s for s in plan["steps"] if s["kind"] == kind]
        if not steps:
            continue
        macs, capacity = sum(s["macs"] for s in steps), steps[0]["capacity"]
        own = sum(s["cycles"] for s in steps)
        own_took = frame_took = None
        if verify:
            took = step_cycles(verify["step_ends"][-1])
            own_took = sum(t for t, s in zip(took, plan["steps"], strict=True)
                           if s["kind"] == kind)
            frame_took = interval(plan, verify)
        totals[kind] = {
            "macs": macs, "capacity": capacity,
            "in_its_steps": _share(macs, capacity, own, own_took),
            "of_the_frame": _share(macs, capacity, plan["interval"], frame_took),
        }
    return totals


def interval(plan: dict, verify: dict) -> int | None:
    """Cycles between the last two starts simulated.

    None after one of frames that overlap: nothing ended while it began.
    """
    starts = verify["starts"]
    if verify["frames"] <= plan.get("batch", 1) and plan["interval"] <= plan["latency"]:
        return None
    return starts[-1] - starts[-2]


def _resources(plan: dict, build: dict | None) -> dict:
    rows = {}
    for name, kind in RESOURCES.items():
        row = {"available": plan["board"]["budget"][name], "primitive": kind}
        if plan["estimate"].get(name) is not None:
            row["estimate"] = Estimate(plan["estimate"][name], "", "planner").to_json()
        if build:
            used = build["used"].get(kind, (0, 0))[0]
            row["post-route"] = Measurement(used, "", "post-route").to_json()
            if "estimate" in row and used:
                row["error_percent"] = 100 * (plan["estimate"][name] / used - 1)
        rows[name] = row
    return rows


def _multipliers(plan: dict, build: dict | None) -> dict:
    """How many multipliers each purpose takes, and the layers that the dense arrays compute."""
    counted = plan["multipliers"]
    rows = {}
    for purpose, n in counted["estimate"].items():
        rows[purpose] = {"estimate": Estimate(n, "", "planner").to_json()}
        if build and "multipliers" in build:
            used = build["multipliers"][purpose]
            rows[purpose]["post-synthesis"] = Measurement(used, "", "post-synthesis").to_json()
    return {"purposes": rows, "layers": counted["layers"]}


def _performance(plan: dict, verify: dict | None, build: dict | None) -> dict:
    batch = plan.get("batch", 1)  # images that start together, as one interval and latency say
    doc = {
        "latency": {"estimate": _cycles(plan["latency"])},
        "interval": {"estimate": _cycles(plan["interval"])},
    }
    mhz = plan["assumed_mhz"]
    doc["fps"] = {"estimate": Estimate(batch * mhz * 1e6 / plan["interval"], "frames/s",
                                       f"{mhz:g} MHz assumed / schedule").to_json()}
    if batch > 1:
        doc["batch"] = batch
        doc["per_image"] = {"estimate": _cycles(plan["interval"] / batch)}
    if verify:
        doc["latency"]["rtl-sim"] = _simulated(verify["cycles"][-1])
        if cycles := interval(plan, verify):
            doc["interval"]["rtl-sim"] = _simulated(cycles)
            if batch > 1:
                doc["per_image"]["rtl-sim"] = _simulated(cycles / batch)
    if verify and build:
        path = "post-route / rtl-sim"
        for name, mhz, what in (("fmax", build["fmax_mhz"], "post-route Fmax"),
                                ("clock", build["clock_mhz"], "clock of the bitstream")):
            basis = f"{what} / simulated cycles"
            if cycles:
                doc[f"fps_at_{name}"] = Measurement(
                    batch * mhz * 1e6 / cycles, "frames/s", path, basis).to_json()
            doc[f"latency_at_{name}"] = Measurement(
                verify["cycles"][-1] / mhz, "us", path, f"simulated cycles / {what}").to_json()
        doc["serial"] = {
            "baud": plan["board"]["baud"],
            "seconds_per_image": 10 * plan["image_bytes"] / plan["board"]["baud"],
        }
    return doc


def _clock(build: dict) -> dict:
    return {
        "fmax": Measurement(build["fmax_mhz"], "MHz", "post-route").to_json(),
        "clock": Measurement(build["clock_mhz"], "MHz", "post-route", "PLL setting").to_json(),
        "data_sheet_cap_mhz": build["cap_mhz"],
        "data_sheet_cap_by": build["cap_by"],
        "routed_for_mhz": build["target_mhz"],
        "met": build["clock_mhz"] <= build["fmax_mhz"],
        "seed": build["seed"],
        "expected": {seed: Estimate(mhz, "MHz", "nextpnr, after placement").to_json()
                     for seed, mhz in build["expected_mhz"].items()},
    }


def _claims(plan: dict, doc: dict) -> dict:
    """The paper's count for this network, and this build's cycles beside it."""
    claim = dict(plan["claim"])
    perf = doc["performance"]
    claim["cycles"] = perf.get("per_image", perf["interval"])
    if "interval" in claim.get("plain", {}):
        plain = claim["plain"]["interval"]
        plain = plain / perf["batch"] if "batch" in perf else plain
        claim["plain"] = claim["plain"] | {"interval": _cycles(plain)}
    return claim


def _agreement(facts: dict) -> dict:
    found = facts["agreement"]
    n = found["n_images"]

    def of(value: float, unit: str, basis: str = "against torch-float") -> dict:
        return Measurement(value, unit, "int-model", basis).to_json()

    return {
        "images": facts["images"],
        "n_images": n,
        "top1": of(100 * found["same_class"] / n, "%"),
        "max_logit_error": of(found["max_error"], ""),
        "mean_logit_error": of(found["mean_error"], ""),
        "logit_spread": Measurement(found["spread"], "", "torch-float").to_json(),
        "float_graph_error": found["graph_error"],
        "layers": [
            {"name": row["name"], "bits": row["bits"], "differ": row["differ"],
             "agreement": of(100 * (1 - row["differ"] / row["bits"]), "%", "against float graph")}
            for row in found["layers"]
        ],
    }


def _accuracy(found: dict) -> dict:
    n = found["n_images"]
    return {
        "images": found["images"],
        "n_images": n,
        "torch_float": Measurement(found["torch_float"], "%", "torch-float").to_json(),
        "int_model": Measurement(found["int_model"], "%", "int-model").to_json(),
        "top1_agreement": Measurement(100 * found["same_class"] / n, "%", "int-model",
                                      "against torch-float").to_json(),
        "mean_logit_error": Measurement(found["mean_error"], "", "int-model",
                                        "against torch-float").to_json(),
    }


def _saturation(found: dict) -> dict:
    return {
        "images": found["images"],
        "layers": [
            {"name": name, "values": total,
             "clamped": Measurement(count, "", "int-model").to_json()}
            for name, (count, total) in found["saturated"].items()
        ],
    }


def _stages(records: dict) -> list[dict]:
    """Seconds and peak memory of each stage, and of the tools inside it."""
    rows = []
    for stage, record in records.items():
        if stage == "report":
            continue
        rows.append({"name": stage, "seconds": record.seconds, "peak_bytes": record.peak_bytes,
                     "cached": False})
        for part in record.facts.get("stages", ()) if stage == "build" else ():
            rows.append({"name": f"build: {part['name']}", "seconds": part["seconds"],
                         "peak_bytes": part["peak_bytes"], "cached": part["cached"]})
    return rows


def _tools(facts: dict) -> list[str]:
    found = [facts[s]["tool"] for s in ("rtl", "verify") if s in facts]
    found += facts.get("build", {}).get("tools", [])
    return list(dict.fromkeys(found))
