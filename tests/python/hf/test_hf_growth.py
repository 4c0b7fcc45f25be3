"""Dynamic NTK and LongRoPE over a cache: decoding step by step across the trained length is a fresh prefill at every step."""

import copy
import os

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import ropewalk.hf
from ropewalk import Error, LongRopeScaling
from small_models import enliven, relative, small_model

TRAINED, NEW = 16, 14
LONG = LongRopeScaling(tuple(1 + 0.02 * i for i in range(8)), tuple(1.0 + i for i in range(8)), TRAINED, 2.0)
PROMPT = torch.arange(36).reshape(3, 12) * 5 % 80 + 5
MASK = torch.ones_like(PROMPT)
MASK[0, :4] = 0
PADDED = PROMPT * MASK


def model_of(layers, mt="llama", **more):
    parameters = {"rope_type": "default", "rope_theta": 1e4}
    return enliven(small_model(mt, num_hidden_layers=layers, max_position_embeddings=TRAINED, rope_parameters=parameters, **more))


def worst_step(model, prompt=PROMPT, mask=None, **how):
    """The largest difference of a step's logits from those of a fresh prefill, relative."""
    mask = torch.ones_like(prompt) if mask is None else mask
    with torch.no_grad():
        out = model.generate(prompt, attention_mask=mask, max_new_tokens=NEW, do_sample=False, eos_token_id=None, output_logits=True,
                             return_dict_in_generate=True, **how)
        worst = 0.0
        for step in range(NEW):
            seen = torch.cat((mask, mask.new_ones(len(mask), step)), dim=1)
            positions = (seen.cumsum(-1) - 1).clamp_min(0)
            fresh = model(out.sequences[:, : seen.shape[1]], attention_mask=seen, position_ids=positions, use_cache=False).logits[:, -1]
            worst = max(worst, relative(fresh, out.logits[step]))
    return worst


@pytest.mark.parametrize("scaling", ["dynamic:4", LONG], ids=["dynamic", "longrope"])
@pytest.mark.parametrize("how", [{}, {"cache_implementation": "static"}], ids=["dynamic cache", "static cache"])
@pytest.mark.parametrize("layers, on_growth", [(3, "recompute"), (1, "rerotate")])
def test_every_step_is_a_fresh_prefill(layers, on_growth, scaling, how):
    with ropewalk.hf.install(model_of(layers), scaling=scaling, on_growth=on_growth) as handle:
        assert worst_step(handle.model, **how) < 1e-4
        if not how:
            assert worst_step(handle.model) < 1e-4  # and again from a short sequence: nothing is left behind


@pytest.mark.parametrize("layers", [1, 3])
def test_transformers_own_differs_visibly(layers):
    model = model_of(layers)
    parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    theirs = small_model("llama", num_hidden_layers=layers, max_position_embeddings=TRAINED, rope_parameters=parameters)
    theirs.load_state_dict(model.state_dict())
    assert worst_step(theirs) > 0.1
    with ropewalk.hf.install(theirs):  # its own scaling, this library's cache
        assert worst_step(theirs) < 1e-4


@pytest.mark.parametrize("layers, on_growth", [(2, "recompute"), (1, "rerotate")])
def test_a_left_padded_batch(layers, on_growth):
    with ropewalk.hf.install(model_of(layers), scaling="dynamic:4", on_growth=on_growth) as handle:
        assert worst_step(handle.model, PADDED, MASK) < 1e-4


def test_keys_carried_over_in_a_deep_model_are_nearer_than_keys_left():
    model = model_of(3)
    with ropewalk.hf.install(model, scaling="dynamic:4", on_growth="rerotate"):
        carried = worst_step(model)
    from ropewalk.hf import _cache

    with ropewalk.hf.install(model, scaling="dynamic:4", on_growth="rerotate"):
        held, _cache._rerotate = _cache._rerotate, lambda *_: None
        try:
            left = worst_step(model)
        finally:
            _cache._rerotate = held
    assert 1e-4 < carried < left


def step(model, ids, cache=None, **more):
    with torch.no_grad():
        return model(input_ids=ids, past_key_values=cache, use_cache=True, **more)


@pytest.mark.parametrize("on_growth", ["recompute", "rerotate"])
def test_a_cropped_and_a_copied_cache(on_growth):
    with ropewalk.hf.install(model_of(1), scaling="dynamic:4", on_growth=on_growth) as handle:
        model, ids = handle.model, PROMPT[:1].repeat(1, 3)
        cache = step(model, ids[:, :20]).past_key_values
        copied = copy.deepcopy(cache)
        for held in (cache, copied):
            held.crop(-6)
            got = step(model, ids[:, 14:24], held).logits[:, -1]
            assert relative(step(model, ids[:, :24]).logits[:, -1], got) < 1e-4


def test_beams_over_carried_keys():
    with ropewalk.hf.install(model_of(1), scaling="dynamic:4", on_growth="rerotate") as handle:
        model = handle.model
        cached = model.generate(PADDED, attention_mask=MASK, max_new_tokens=NEW, num_beams=3, do_sample=False, eos_token_id=None)
        fresh = model.generate(PADDED, attention_mask=MASK, max_new_tokens=NEW, num_beams=3, do_sample=False, eos_token_id=None,
                               use_cache=False)
    assert torch.equal(cached, fresh)


def test_a_cache_of_another_installation_is_refused():
    model = model_of(1)
    cache = step(model, PROMPT).past_key_values
    with ropewalk.hf.install(model, scaling="dynamic:4"):
        with pytest.raises(Error, match="past_key_values: want a cache that was filled under this installation, got one of 12 tokens"):
            step(model, PROMPT[:, :1], cache)
        cache = step(model, PROMPT).past_key_values
    with ropewalk.hf.install(model, scaling="dynamic:2"):
        with pytest.raises(Error, match="filled under this installation"):
            step(model, PROMPT[:, :1], cache)


def test_keys_of_another_scaling_are_refused():
    model = model_of(1)
    cache = step(model, PROMPT).past_key_values
    with ropewalk.hf.install(model):  # its own encoding: the keys are as they would be
        cache = step(model, PROMPT, cache).past_key_values
    with ropewalk.hf.install(model, scaling="yarn:4"):
        with pytest.raises(Error, match="filled under this installation, got one of 24 tokens"):
            step(model, PROMPT, cache)
        cache = step(model, PROMPT).past_key_values
        whole = step(model, PROMPT.repeat(1, 2)).logits[:, -1]
        assert relative(whole, step(model, PROMPT, cache).logits[:, -1]) < 1e-4


def test_quantized_keys_are_refused():
    with ropewalk.hf.install(model_of(1), scaling="dynamic:4", on_growth="rerotate") as handle:
        cache = step(handle.model, PROMPT).past_key_values
        cache.layers[0]._quantize = lambda x: x
        with pytest.raises(Error, match="past_key_values: want keys as floats where frequencies move with the length, got DynamicLayer"):
            step(handle.model, PROMPT, cache)


def test_keys_that_are_normed_behind_the_rotation_are_not_carried_over():
    """HunYuan stores norm(R k) * w, which no rotation takes to norm(R' k) * w."""
    model = model_of(1, "hunyuan_v1_dense")
    with torch.no_grad():
        model.model.layers[0].self_attn.key_layernorm.weight.copy_(torch.linspace(0.5, 2, 16))
    with pytest.raises(Error, match="on_growth: want keys that are cached as the rotation left them, got others in layer 0"):
        ropewalk.hf.install(model, scaling="dynamic:4", on_growth="rerotate")
    with ropewalk.hf.install(model, scaling="dynamic:4"):
        assert worst_step(model) < 1e-4


def test_latent_attention_is_computed_anew():
    model = model_of(2, "deepseek_v3", mlp_layer_types=["dense", "dense"])
    with pytest.raises(Error, match='on_growth: want "recompute" for latent attention'):
        ropewalk.hf.install(model, scaling="dynamic:4", on_growth="rerotate")
    with ropewalk.hf.install(model, scaling="dynamic:4"):
        assert worst_step(model) < 1e-4


@pytest.mark.parametrize("crop", [0, 2])
def test_a_prompt_of_vectors(crop):
    model = model_of(2)
    with ropewalk.hf.install(model, scaling="dynamic:4"), torch.no_grad():
        cache = transformers.DynamicCache()
        ids = PROMPT.flatten()[None]
        model(inputs_embeds=model.get_input_embeddings()(ids[:, :13]), past_key_values=cache)
        model(ids[:, 13:15], past_key_values=cache)
        if crop:
            cache.crop(-crop)
        for end in range(16 - crop, 22):
            got = model(ids[:, end - 1 : end], past_key_values=cache).logits[:, -1]
            assert relative(model(ids[:, :end]).logits[:, -1], got) < 1e-5
