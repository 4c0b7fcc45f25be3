"""lab/0003-vision: fair pictures, every encoding carried to other resolutions, and the same figures twice."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mlxtend")

ROOT = Path(__file__).resolve().parents[3]
LAB = ROOT / "lab/0003-vision"
RUN = [sys.executable, str(LAB / "run.py"), "--quick"]


@pytest.fixture(scope="module")
def run():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("lab_vision_run", LAB / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["lab_vision_run"] = module
    spec.loader.exec_module(module)
    yield module
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pictures(run):
    return run.read_pictures()[:2]


def test_pictures_are_split_evenly_and_nothing_is_in_both(run, pictures):
    (shown, wanted), (tests, truth) = run.split_pictures(*pictures, run.FULL)
    assert shown.shape == (4000, 28, 28) and tests.shape == (1000, 28, 28)
    assert torch.equal(wanted.bincount(), torch.full((10,), 400)) and torch.equal(truth.bincount(), torch.full((10,), 100))
    known = {bytes((p * 255).byte().numpy()) for p in shown}
    assert len(known) == 4000 and not known & {bytes((p * 255).byte().numpy()) for p in tests}
    assert 0 <= float(shown.min()) and float(shown.max()) == 1


def test_sizes_keep_the_picture_and_its_mean(run, pictures):
    some = pictures[0][:50]
    assert torch.equal(run.at_size(some, 28), some)
    torch.testing.assert_close(run.at_size(some, 14), some.view(50, 14, 2, 14, 2).mean((2, 4)))
    for size in (14, 20):
        torch.testing.assert_close(run.at_size(some, size).mean((1, 2)), some.mean((1, 2)), rtol=2e-2, atol=0)


def test_encodings_of_a_seed_differ_in_nothing_else(run, pictures):
    first = {n: v for n, v in run.make_model("none", run.QUICK, 1).state_dict().items() if not n.startswith("encoding.")}
    for name in run.ENCODINGS:
        other = run.make_model(name, run.QUICK, 1).state_dict()
        assert all(torch.equal(other[n], value) for n, value in first.items()), name
    one, two = (run.batch_of(*pictures, run.QUICK, 0, step) for step in (0, 1))
    assert torch.equal(one[0], run.batch_of(*pictures, run.QUICK, 0, 0)[0]) and not torch.equal(one[0], two[0])


def test_an_epoch_shows_every_picture_once(run):
    numbered = torch.arange(40).float().view(40, 1, 1).expand(40, 4, 4).contiguous() + 1
    settings = {**run.QUICK, "shift": 0}
    seen = [run.batch_of(numbered, torch.arange(40), settings, 3, step)[1] for step in range(5)]
    assert sorted(torch.cat(seen).tolist()) == list(range(40))


@pytest.mark.parametrize("name", ["none", "learned", "sinusoidal", "log-cpb", "rope-axial", "rope-mixed"])
def test_carried_to_its_own_resolution_an_encoding_is_itself(run, pictures, name):
    model = run.make_model(name, run.QUICK, 0).eval()
    small = run.at_size(pictures[0][::500], 14)
    with torch.no_grad():
        wanted, trained = model(small), model.encoding
        for how, (model.encoding, model.step) in run.carried(name, trained, run.QUICK, 7, 7).items():
            torch.testing.assert_close(model(small), wanted, rtol=1e-5, atol=1e-5, msg=how)
        for how, (model.encoding, model.step) in run.carried(name, trained, run.QUICK, 7, 14).items():
            assert model(pictures[0][::500]).isfinite().all(), how


@pytest.mark.parametrize("name", ["none", "sinusoidal", "learned", "log-cpb", "rope-axial", "rope-mixed"])
def test_only_without_an_encoding_the_order_of_patches_does_not_matter(run, pictures, name):
    """The model is what its encoding makes of it: a bag of patches without one."""
    model = run.make_model(name, run.QUICK, 0).eval()
    small = run.at_size(pictures[0][::500], 14)
    patches = small.view(10, 7, 2, 7, 2).permute(0, 1, 3, 2, 4).reshape(10, 49, 2, 2)
    mixed = patches[:, torch.randperm(49, generator=torch.Generator().manual_seed(0))]
    mixed = mixed.view(10, 7, 7, 2, 2).permute(0, 1, 3, 2, 4).reshape(10, 14, 14)
    with torch.no_grad():
        for parameter in model.encoding.parameters():  # what begins near nothing would say nothing
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        difference = (model(small) - model(mixed)).abs().max().item()
    assert difference < 1e-5 if name == "none" else difference > 1e-3


def test_quick_gives_the_same_twice(tmp_path):
    def made(folder):
        told = subprocess.run([*RUN, "--out", str(folder), "--work", str(tmp_path / "work"), "--only", "rope-axial,learned", "--json"],
                              capture_output=True, text=True, check=True).stdout
        results = json.loads(told)
        for result in results.values():
            result["training"]["processor_seconds"] = None
        return results

    one, two = made(tmp_path / "one"), made(tmp_path / "two")
    assert one == two and set(one) == {"rope-axial/0", "learned/0"}
    assert [row["size"] for row in one["rope-axial/0"]["measured"]["rescaled"]] == [14, 20, 28]
