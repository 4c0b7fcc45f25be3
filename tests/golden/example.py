import json
import math
import sys

for path in sys.argv[1:]:
    worst, checked, skipped = 0.0, 0, 0
    for e in json.load(open(path))["encodings"]:
        if "first" not in e or "inv_freq_second" in e or "query_gain" in e or any(isinstance(f, list) for f in e["inv_freq"]):
            skipped += 1  # what these lines do not do
            continue
        checked += 1
        where = e.get("turned_by", e["positions"])
        for t, expected in enumerate(e["query"]):
            y = list(e["x"])
            for j, (a, b) in enumerate(zip(e["first"], e["second"])):
                angle = where[e["axis"][j] if e["axis"] else 0][t] * e["inv_freq"][j]
                c = e["attention_factor"] * math.cos(angle)
                s = e["attention_factor"] * math.sin(-angle if e["clockwise"] else angle)
                y[a], y[b] = e["x"][a] * c - e["x"][b] * s, e["x"][b] * c + e["x"][a] * s
            scale = e.get("query_scale", [1.0] * len(e["query"]))[t]
            worst = max([worst] + [abs(scale * got - want) for got, want in zip(y, expected)])
    said = f"at most {worst:.1e} off" if checked else "not checked"
    print(f"{path}: {said}" + (f" ({skipped} of {checked + skipped} encodings passed over)" if checked and skipped else ""))
