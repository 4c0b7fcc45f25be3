"""lab/0002-encodings: the same targets behind every context, the same text and weights for every encoding, and runs that can be stopped."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[3]
LAB = ROOT / "lab/0002-encodings"
TEXT = ROOT / "lab/0001-small-llama/text.txt"
RUN = [sys.executable, str(LAB / "run.py"), "--quick", "--text", str(TEXT)]


def module_of(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run():
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    yield module_of(LAB / "run.py", "lab_encodings_run")
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def text(run):
    return [run.as_tensor(part) for part in run.split_text(TEXT.read_bytes(), run.QUICK["held_out"])]


def call(folder, *more, check=True):
    return subprocess.run([*RUN, "--out", str(folder / "out"), "--work", str(folder / "work"), *more], capture_output=True, text=True, check=check)


def without_time(result):
    return {**result, "training": {**result["training"], "processor_seconds": None}}


def results_in(folder):
    return {path.name: json.loads(path.read_text()) for path in sorted((folder / "out").iterdir())}


# ---- targets


@pytest.mark.parametrize("which", ["QUICK", "FULL"])
def test_scored_bytes_are_the_same_behind_every_context(run, which):
    settings = getattr(run, which)
    held_out = torch.arange(440_000) % 251  # places can be told apart
    ends, fitting = run.window_ends(held_out, settings)
    for end in ends + fitting:
        longest, targets = run.window(held_out, end, max(settings["factors"]) * settings["trained_length"], settings["scored"])
        assert targets.tolist() == [i % 251 for i in range(end - settings["scored"], end)]
        for factor in settings["factors"]:
            length = factor * settings["trained_length"]
            read, scored = run.window(held_out, end, length, settings["scored"])
            assert len(read) == length and torch.equal(scored, targets)
            assert torch.equal(read, longest[-length:])  # what is read grows at its beginning alone
            assert torch.equal(read[-settings["scored"] + 1 :], targets[:-1])  # and ends with the byte before the last target


@pytest.mark.parametrize("which", ["QUICK", "FULL"])
def test_no_byte_is_scored_twice_and_none_is_fitted_on(run, which):
    settings = getattr(run, which)
    ends, fitting = run.window_ends(torch.zeros(440_000), settings)
    assert len(ends) == settings["windows"] and len(fitting) == settings["validation_windows"]
    scored = [place for end in ends + fitting for place in range(end - settings["scored"], end)]
    assert len(set(scored)) == len(scored) and min(scored) >= 0 and max(scored) < 440_000


def test_losses_are_those_of_the_targets_alone(run, text):
    """A byte before the scored ones changes losses only as context, one behind them not at all."""
    settings = run.QUICK
    model = run.make_model("rope", settings, 0).eval()
    ends, _ = run.window_ends(text[1], settings)
    losses = run.losses_behind(model, text[1], ends, 32, settings["scored"])
    assert losses.shape == (settings["windows"], settings["scored"])
    read, targets = run.window(text[1], ends[0], 32, settings["scored"])
    with torch.inference_mode(), run.autocast():
        logits = model(read[None])[0].float()
    wanted = torch.nn.functional.cross_entropy(logits[-settings["scored"] :], targets, reduction="none")
    torch.testing.assert_close(losses[0].float(), wanted, rtol=2e-2, atol=2e-2)  # bfloat16, another batch


# ---- what encodings share


def test_encodings_of_a_seed_differ_in_nothing_else(run, text):
    first = run.make_model("rope", run.QUICK, 1)
    shared = {name: value for name, value in first.state_dict().items() if not name.startswith("encoding.")}
    for name in run.ENCODINGS:
        other = run.make_model(name, run.QUICK, 1).state_dict()
        assert {n for n in other if not n.startswith("encoding.")} == set(shared)
        assert all(torch.equal(other[n], value) for n, value in shared.items()), name
    assert not torch.equal(run.make_model("rope", run.QUICK, 2).bytes.weight, first.bytes.weight)
    steps = [run.crops(text[0], run.QUICK, seed, step) for seed in (0, 1) for step in (0, 1)]
    assert all(torch.equal(a, b) == (i == j) for i, a in enumerate(steps) for j, b in enumerate(steps))
    assert torch.equal(run.crops(text[0], run.QUICK, 1, 1), steps[3])


def test_every_encoding_is_of_the_size_the_comparison_names(run):
    for name in run.ENCODINGS:
        model = run.make_model(name, run.FULL, 0)
        own = sum(p.numel() for p in model.encoding.parameters())
        if name == "learned":  # rows past training are there to be read, not learned
            own = run.FULL["trained_length"] * run.FULL["model_dim"]
        everything = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in model.encoding.parameters()) + own
        assert 2e6 <= everything <= 5e6 and own <= 0.02 * everything, name


# ---- stopping


def test_a_stopped_training_goes_on_to_the_same_bits(run, text, tmp_path):
    quiet = lambda done, say: None
    whole, facts = run.train("kerple", 0, run.QUICK, *text, tmp_path / "a.pt", quiet)
    assert run.train("kerple", 0, run.QUICK, *text, tmp_path / "b.pt", quiet, stop_at=3) is None
    resumed, again = run.train("kerple", 0, run.QUICK, *text, tmp_path / "b.pt", quiet)
    assert {**facts, "processor_seconds": 0} == {**again, "processor_seconds": 0}
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values()):
        assert torch.equal(one, other), name
    with pytest.raises(SystemExit, match="of others"):
        run.train("kerple", 0, {**run.QUICK, "learning_rate": 1.0}, *text, tmp_path / "b.pt", quiet)
    with pytest.raises(SystemExit, match="this text"):
        run.train("kerple", 0, run.QUICK, *text, tmp_path / "b.pt", quiet, origin={"text_sha256": "another"})


def test_a_stopped_measurement_keeps_its_parts(run, tmp_path):
    asked = []
    parts = run.Parts(tmp_path / "x.measured")
    assert parts.of("a", lambda: asked.append("a") or {"nats_per_byte": [1.5]}) == {"nats_per_byte": [1.5]}
    with pytest.raises(KeyboardInterrupt):
        parts.of("b", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    again = run.Parts(tmp_path / "x.measured")
    assert again.of("a", lambda: asked.append("again")) == {"nats_per_byte": [1.5]} and asked == ["a"]
    assert again.of("b", lambda: [2, 3]) == [2, 3]


def test_quick_makes_what_is_missing_and_the_same_again(tmp_path):
    first = json.loads(call(tmp_path, "--only", "rope,alibi", "--json").stdout)
    files = results_in(tmp_path)
    assert set(first) == {"rope/0", "alibi/0"} and set(files) == {"rope.seed-0.json", "alibi.seed-0.json"}
    assert first["rope/0"]["measured"]["scored_sha256"] == first["alibi/0"]["measured"]["scored_sha256"]
    assert set(first["rope/0"]["measured"]["scalings"]) >= {"linear", "ntk", "dynamic-2", "llama3", "yarn", "yarn-fitted"}
    stamp = (tmp_path / "out/alibi.seed-0.json").stat().st_mtime_ns
    (tmp_path / "out/rope.seed-0.json").unlink()
    for checkpoint in (tmp_path / "work").glob("rope*.pt"):
        checkpoint.unlink()
    again = call(tmp_path, "--only", "rope,alibi")
    assert "rope/0" in again.stderr and "alibi/0" not in again.stderr
    assert (tmp_path / "out/alibi.seed-0.json").stat().st_mtime_ns == stamp
    assert without_time(results_in(tmp_path)["rope.seed-0.json"]) == without_time(files["rope.seed-0.json"])


def test_a_stopped_program_keeps_what_is_whole_and_goes_on(tmp_path):
    names = "none,alibi,sinusoidal,learned"
    command = [*RUN, "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--only", names, "--jobs", "1"]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not list((tmp_path / "out").glob("[!.]*.json")) and time.monotonic() < end:
        time.sleep(0.05)
    program.send_signal(signal.SIGTERM)
    said = program.communicate(timeout=60)[1]
    kept = results_in(tmp_path)
    assert program.returncode == 1 and "goes on from here" in said and 1 <= len(kept) < 4
    call(tmp_path, "--only", names, "--jobs", "2")
    now = results_in(tmp_path)
    assert len(now) == 4 and all(now[name] == result for name, result in kept.items())


def test_results_of_other_settings_and_unknown_names_are_refused(tmp_path):
    call(tmp_path, "--only", "none")
    path = tmp_path / "out/none.seed-0.json"
    kept = path.read_text()
    for key, change in {
        "settings": lambda result: result["settings"].update(steps=result["settings"]["steps"] + 1),
        "options": lambda result: result["options"].update(theta=3.0),
        "text_sha256": lambda result: result.update(text_sha256="0" * 64),
    }.items():
        result = json.loads(kept)
        change(result)
        path.write_text(json.dumps(result))
        assert f"{key}: want a result of this script's" in call(tmp_path, "--only", "none", check=False).stderr
    path.write_text(kept)
    assert "there" in call(tmp_path, "--only", "none", "--list").stdout
    refused = call(tmp_path, "--only", "rotary", check=False)
    assert refused.returncode == 2 and "rotary" in refused.stderr.splitlines()[-1]
    assert call(tmp_path, "--text", "/nowhere", "--only", "rope", check=False).stderr.count("fetch_texts.sh") == 1


# ---- what is kept in the repository


def kept_results():
    return [json.loads(path.read_text()) for path in sorted((LAB / "results").glob("*.json"))]


def test_kept_results_are_of_these_settings_and_of_one_text(run):
    results = kept_results()
    if not results:
        pytest.skip("no results are kept yet")
    assert all(r["settings"] == run.FULL for r in results)
    assert len({(r["text_sha256"], r["measured"]["scored_sha256"]) for r in results}) == 1
    for r in results:
        kind, options = run.ENCODINGS[r["run"].split("/")[0]]
        assert (r["encoding"], r["options"], r["run"].split("/")[1]) == (kind, options, str(r["seed"]))
