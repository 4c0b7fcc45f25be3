"""What installing does to a model, beside what test_every_model.py holds for all of them."""

import copy
import io
import os

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import ropewalk
import ropewalk.hf
from ropewalk import Error, Llama3Scaling, YarnScaling
from small_models import IDS, MASK, enliven, relative, small_config, small_model
from transformers.models.llama import modeling_llama

PLAIN = {"rope_type": "default", "rope_theta": 1e4}


@pytest.fixture
def llama():
    return enliven(small_model("llama"))


def logits(model, **more):
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False, **more).logits


def with_parameters(mt, parameters, like):
    """A model of transformers with these rope parameters and another's weights."""
    model = small_model(mt, rope_parameters=copy.deepcopy(parameters))
    model.load_state_dict(like.state_dict())
    return model


# ---- in and out again


def test_only_this_model_changes_and_undo_gives_it_back(llama):
    other = enliven(small_model("llama"))
    classes = [type(m) for m in llama.modules()]
    function, forward = modeling_llama.apply_rotary_pos_emb, modeling_llama.LlamaAttention.forward
    before, keys = logits(llama), list(llama.state_dict())
    with ropewalk.hf.install(llama) as handle:
        assert handle.is_installed
        assert type(llama.model.layers[0].self_attn).forward is not forward
        assert isinstance(llama.model.layers[0].self_attn, modeling_llama.LlamaAttention)
        assert modeling_llama.apply_rotary_pos_emb is function and modeling_llama.LlamaAttention.forward is forward
        assert [type(m) for m in other.modules()] == classes
        assert list(llama.state_dict()) == keys
        assert relative(before, logits(llama)) < 1e-6
        assert torch.equal(logits(other), before)
    assert not handle.is_installed and [type(m) for m in llama.modules()] == classes
    assert torch.equal(logits(llama), before)
    handle.undo()


def test_the_report_says_what_was_done(llama):
    report = ropewalk.hf.install(llama).report()
    (module,) = report["rotary_modules"]
    assert module["path"] == "model.rotary_emb" and module["spec"].head_dim == 16
    assert module["fingerprint"] == ropewalk.fingerprint(module["spec"], 0)
    assert module["probe"]["of_what_float32_explains"] <= 1 and report["attention"] == {"LlamaAttention": 2}
    assert report["forward_probe"]["relative"] < 1e-6 and report["tables_only"] == [] and report["on_growth"] is None


def test_twice_is_refused(llama):
    with ropewalk.hf.install(llama):
        with pytest.raises(Error, match="model: want one without this library's rotation"):
            ropewalk.hf.install(llama)
    ropewalk.hf.install(llama).undo()


@pytest.mark.parametrize("mt", ["llama", "gptj"])
def test_copies_and_pickles_keep_the_operator(mt):
    model = enliven(small_model(mt))
    ropewalk.hf.install(model)
    expected = logits(model)
    assert torch.equal(logits(copy.deepcopy(model)), expected)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert torch.equal(logits(torch.load(file, weights_only=False)), expected)


# ---- refusals, with the model as it was


def refused(model, match, **options):
    classes, held = [type(m) for m in model.modules()], {n: b.clone() for n, b in model.named_buffers()}
    with pytest.raises(Error, match=match):
        ropewalk.hf.install(model, **options)
    assert [type(m) for m in model.modules()] == classes
    assert {n: b.shape for n, b in model.named_buffers()} == {n: b.shape for n, b in held.items()}
    assert not any(hasattr(m, "_ropewalk") for m in model.modules())
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_a_module_that_is_not_what_its_config_says_is_refused(llama):
    llama.model.rotary_emb.inv_freq.mul_(1.01)
    refused(llama, r"model\.rotary_emb: want the original's cosines and sines at positions 0 to 100")


def test_a_config_changed_after_loading_is_refused(llama):
    llama.config.rope_parameters = {**PLAIN, "rope_theta": 2e4}
    refused(llama, "want the original's cosines and sines")


def test_attention_that_gives_other_logits_is_refused(llama, monkeypatch):
    from ropewalk.hf import _functions

    monkeypatch.setattr(_functions, "_classes", {})
    monkeypatch.setattr(_functions, "_globals", {})
    right = _functions.replacement
    monkeypatch.setattr(_functions, "replacement", lambda f: lambda q, k, cos, sin: right(f)(q, k, cos, -sin))
    llama.model.layers[0].self_attn.q_proj.weight.data.mul_(3)
    _functions.methods_that_turn.cache_clear()
    try:
        refused(llama, "model: want the original's logits on 8 tokens, got others")
    finally:
        _functions.methods_that_turn.cache_clear()


def test_what_is_not_there_is_refused(llama):
    refused(enliven(small_model("gpt2")), "got gpt2, which does not rotate")

    class Nobody(transformers.LlamaConfig):
        model_type = "nobody"

    llama.model.rotary_emb.config = Nobody(**llama.config.to_dict())
    refused(llama, r"model\.rotary_emb: model_type: want a known model type")
    with pytest.raises(Error, match="model: want a model of transformers, got Linear"):
        ropewalk.hf.install(torch.nn.Linear(2, 2))
    with torch.device("meta"):
        hollow = transformers.LlamaForCausalLM(small_config("llama"))
    refused(hollow, r"model\.rotary_emb: want a model that is loaded, got one on the meta device")


@pytest.mark.parametrize("scaling, match", [
    ("yarn", 'scaling: want a name with its factor'), ("yarn:x", "scaling: want a number behind the colon"),
    ("yarn:0.5", "scaling"), ("wide:2", "scaling"), (4, "scaling"),
])
def test_bad_scalings_are_refused(llama, scaling, match):
    refused(llama, match, scaling=scaling)


def test_a_forward_that_somebody_replaced_is_refused(llama):
    attention = llama.model.layers[1].self_attn
    attention.forward = lambda *a, **k: None
    with pytest.raises(Error, match="LlamaAttention: want a module with the forward of its class"):
        ropewalk.hf.install(llama, probe_forward=False)
    assert type(attention) is modeling_llama.LlamaAttention and not hasattr(llama.model.rotary_emb, "_ropewalk")


def test_accelerate_hooks_are_kept(llama):
    hooks = pytest.importorskip("accelerate.hooks")
    before = logits(llama)
    calls = []

    class Hook(hooks.ModelHook):
        def pre_forward(self, module, *args, **kwargs):
            calls.append(module)
            return args, kwargs

    for module in (llama.model.layers[0].self_attn, llama.model.rotary_emb):
        hooks.add_hook_to_module(module, Hook())
    handle = ropewalk.hf.install(llama)
    calls.clear()
    assert relative(before, logits(llama)) < 1e-6 and len(calls) == 2
    handle.undo()
    assert torch.equal(logits(llama), before)


# ---- precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_models_turn_by_whole_angles(llama, dtype):
    """Casting a model rounds its inv_freq buffer; neither that nor a table in 16 bits reaches the rotation."""
    handle = ropewalk.hf.install(llama)
    llama.to(dtype)
    llama.model.rotary_emb.inv_freq.zero_()
    attention = type(llama.model.layers[0].self_attn).forward.__globals__["apply_rotary_pos_emb"]
    positions = torch.tensor([[256, 257, 70000]])
    cos, sin = llama.model.rotary_emb(torch.zeros(1, 1, dtype=dtype), positions)
    assert cos.dtype == torch.float32
    q = torch.randn(1, 4, 3, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
    got, _ = attention(q, q[:, :2], cos, sin)
    rotary = ropewalk.Rotary(handle.report()["rotary_modules"][0]["spec"])
    assert torch.equal(got, rotary.apply(q, position_ids=positions, layout="bhsd"))
    assert logits(llama).dtype == dtype


def test_numerics_fp32_is_transformers_own(llama):
    far = torch.arange(12)[None].expand(3, -1) + 3_000_000
    before = logits(llama, position_ids=far)
    with ropewalk.hf.install(llama):
        assert relative(before, logits(llama, position_ids=far)) > 1e-3  # its phases are off by 0.1 there
    with ropewalk.hf.install(llama, numerics="fp32"):
        assert relative(before, logits(llama, position_ids=far)) < 1e-4


# ---- as models are used


def test_gradients_are_the_original_s_with_checkpointing_too(llama):
    def gradients():
        llama.zero_grad()
        llama(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
        return {n: p.grad.clone() for n, p in llama.named_parameters()}

    llama.train()
    before = gradients()
    ropewalk.hf.install(llama)
    assert llama.training
    for reentrant in (None, False, True):
        if reentrant is not None:
            llama.gradient_checkpointing_enable({"use_reentrant": reentrant})
            llama.enable_input_require_grads()
        for name, gradient in gradients().items():
            assert relative(before[name], gradient) < 1e-4, name


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("how", [{}, {"num_beams": 2}, {"cache_implementation": "static"}],
                         ids=["dynamic", "beams", "static"])
def test_generation_of_a_left_padded_batch(llama, attention, how):
    llama.set_attn_implementation(attention)
    prompt = {"input_ids": IDS, "attention_mask": MASK, "do_sample": False, "max_new_tokens": 8, "eos_token_id": None, **how}
    before = llama.generate(**prompt)
    with ropewalk.hf.install(llama):
        assert torch.equal(llama.generate(**prompt), before)


@pytest.mark.parametrize("mt", ["llama", "gemma3_text", "deepseek_v3", "llama4_text"])
def test_it_compiles_as_one_graph(mt):
    model = enliven(small_model(mt))
    ropewalk.hf.install(model)
    expected = logits(model)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert relative(expected, logits(compiled)) < 1e-5


# ---- another scaling


SCALINGS = {
    "linear:4": {"rope_type": "linear", "factor": 4.0},
    "yarn:4": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
    YarnScaling(8, 32, truncate=False): {
        "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "truncate": False},
    Llama3Scaling(8, 1, 4, 64): {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                 "original_max_position_embeddings": 64},
}


@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
def test_a_scaling_is_that_of_a_model_built_with_it(llama, scaling):
    theirs = with_parameters("llama", {**PLAIN, **SCALINGS[scaling]}, llama)
    plain = logits(llama)
    with ropewalk.hf.install(llama, scaling=scaling) as handle:
        assert handle.report()["scaling"] == scaling
        assert relative(logits(theirs), logits(llama)) < 1e-5 < relative(plain, logits(llama))
    with ropewalk.hf.install(theirs, scaling="none"):
        assert relative(plain, logits(theirs)) < 1e-5


def test_layers_of_near_keys_keep_their_own():
    parameters = {"sliding_attention": PLAIN, "full_attention": {**PLAIN, "rope_theta": 1e6}}
    model = enliven(small_model("gemma3_text", rope_parameters=copy.deepcopy(parameters)))
    parameters["full_attention"] = {**parameters["full_attention"], "rope_type": "linear", "factor": 8.0}
    theirs = with_parameters("gemma3_text", parameters, model)
    with ropewalk.hf.install(model, scaling="linear:8") as handle:
        assert relative(logits(theirs), logits(model)) < 1e-5
        kinds = {one["kind"]: one["spec"].scaling for one in handle.report()["rotary_modules"]}
    assert kinds == {"sliding_attention": ropewalk.NoScaling(), "full_attention": ropewalk.LinearScaling(8.0)}


def test_a_factor_on_the_softmax_is_counted_once():
    """DeepSeek-V3's YaRN: nothing on cosine and sine, all on the softmax scale."""
    model = enliven(small_model("deepseek_v3"))
    scaling = YarnScaling(40, 32, mscale=1.0, mscale_all_dim=1.0, scale_softmax=True)
    parameters = {**PLAIN, "rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 32, "mscale": 1.0,
                  "mscale_all_dim": 1.0}
    theirs = with_parameters("deepseek_v3", parameters, model)
    scale = model.model.layers[0].self_attn.scaling
    with ropewalk.hf.install(model, scaling=scaling):
        assert model.model.layers[0].self_attn.scaling == pytest.approx(scale * 1.873854207, rel=1e-6)
        assert relative(logits(theirs), logits(model)) < 1e-5
    assert model.model.layers[0].self_attn.scaling == scale
    with ropewalk.hf.install(theirs):
        assert relative(logits(with_parameters("deepseek_v3", parameters, model)), logits(theirs)) < 1e-5


def test_a_model_with_one_finished_table_takes_fixed_scalings():
    model = enliven(small_model("gptj"))
    plain = logits(model)
    with ropewalk.hf.install(model, scaling="linear:4"):
        whole = logits(model)
    assert relative(plain, whole) > 1e-2
    refused(model, "want a scaling that does not move with the length", scaling="dynamic:2")
    with ropewalk.hf.install(model):
        model.half()
        assert model.transformer.h[0].attn.embed_positions.dtype == torch.float32
    assert torch.is_tensor(dict(model.named_buffers())["transformer.h.0.attn.embed_positions"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_that_was_cast_before_is_refused_by_the_buffer(llama, dtype):
    llama.to(dtype)
    with pytest.raises(ropewalk.Error, match=r"rotary_emb\.(original_)?inv_freq: want float32, .* got torch\..*float16"):
        ropewalk.hf.install(llama)
