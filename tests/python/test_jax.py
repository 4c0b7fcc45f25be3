"""The operator under JAX's transformations, against the core and against a plain expression of the formula."""

import numpy as np
import pytest
import ropewalk
from ropewalk import Rotary, RotarySpec, YarnScaling

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402

if not hasattr(ropewalk._core, "jax_turn"):
    pytest.skip("built without XLA's headers", allow_module_level=True)
from ropewalk.jax import rotate  # noqa: E402

PLAIN = Rotary(RotarySpec(head_dim=16, theta=10000.0))
YARN = Rotary(RotarySpec(head_dim=16, theta=10000.0, interleaved=True, rotary_dim=8, scaling=YarnScaling(4.0, 2048)))
XPOS = Rotary(RotarySpec(head_dim=16, theta=10000.0, xpos=ropewalk.XPos()))
rng = np.random.default_rng(3)


def heads(*shape):
    return jnp.asarray(rng.standard_normal(shape, np.float32))


@pytest.mark.parametrize("rotary", [PLAIN, YARN, XPOS])
@pytest.mark.parametrize("layout, shape", [("bshd", (2, 5, 3, 16)), ("bhsd", (2, 3, 5, 16)), ("sbhd", (5, 2, 3, 16)), ("thd", (5, 3, 16))])
def test_jit_gives_the_bits_of_the_core(rotary, layout, shape):
    q, k = heads(*shape), heads(*shape)
    got = jax.jit(lambda q, k, ids: rotate(rotary, q, k, position_ids=ids, layout=layout))(q, k, jnp.arange(90, 95))
    wanted = rotary.apply(np.asarray(q), np.asarray(k), position_ids=np.arange(90, 95), layout=layout)
    for one, other in zip(got, wanted):
        assert (np.asarray(one) == other).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_dtypes_stay(dtype):
    x = heads(1, 3, 2, 16).astype(dtype)
    got = rotate(PLAIN, x, seqlen_offsets=7)
    assert got.dtype == dtype and (np.asarray(got) == PLAIN.apply(np.asarray(x), seqlen_offsets=7)).all()


def test_positions_however_they_are_said():
    x = heads(2, 4, 1, 16)
    rows = np.array([[3, 4, 5, 6], [50, 51, 52, 53]])
    assert (rotate(PLAIN, x, seqlen_offsets=jnp.array([3, 50])) == rotate(PLAIN, x, position_ids=rows)).all()
    packed = rotate(PLAIN, x[0], layout="thd", cu_seqlens=jnp.array([0, 1, 1, 4]), seqlen_offsets=jnp.array([0, 9, 2]))
    assert (packed == rotate(PLAIN, x[0], layout="thd", position_ids=[0, 2, 3, 4])).all()
    np.testing.assert_allclose(rotate(PLAIN, x, position_ids=rows.astype(np.float32)), rotate(PLAIN, x, position_ids=rows), atol=1e-5)


@pytest.mark.parametrize("rotary, inverse", [(PLAIN, False), (PLAIN, True), (YARN, False), (YARN, True), (XPOS, False)])
def test_every_derivative_is_that_of_a_linear_map(rotary, inverse):
    """Its matrix, column by column, is the truth for grad, jvp and the second order."""
    shape = (1, 2, 1, 16)
    turn = lambda x: rotate(rotary, x, seqlen_offsets=1234, inverse=inverse)
    matrix = np.stack([np.asarray(turn(jnp.eye(32)[i].reshape(shape))).ravel() for i in range(32)], 1)
    x, v = heads(*shape), heads(*shape)
    np.testing.assert_allclose(jax.vjp(turn, x)[1](v)[0].ravel(), matrix.T @ np.asarray(v).ravel(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(jax.jvp(turn, (x,), (v,))[1].ravel(), matrix @ np.asarray(v).ravel(), rtol=1e-5, atol=1e-5)
    loss = lambda x: (turn(x) ** 2).sum() / 2
    product = jax.jvp(jax.grad(loss), (x,), (v,))[1]
    np.testing.assert_allclose(product.ravel(), matrix.T @ matrix @ np.asarray(v).ravel(), rtol=1e-4, atol=1e-4)


def test_positions_are_not_differentiated_by_in_silence():
    by_positions = lambda x, ids: rotate(PLAIN, x, position_ids=ids).sum()
    with pytest.raises(ropewalk.Error, match="position_ids: want positions without derivative"):
        jax.grad(by_positions, argnums=1)(heads(1, 2, 1, 16), jnp.array([0.5, 1.5]))
    still = jax.grad(lambda scale: rotate(PLAIN, jnp.ones((1, 2, 1, 16))).sum() * scale)(2.0)
    np.testing.assert_allclose(still, rotate(PLAIN, jnp.ones((1, 2, 1, 16))).sum(), rtol=1e-6)


def test_vmap_over_heads_and_over_positions():
    x, ids = heads(6, 1, 4, 2, 16), jnp.arange(24).reshape(6, 4)
    one_by_one = jnp.stack([rotate(YARN, x[i], position_ids=ids[i]) for i in range(6)])
    assert (jax.vmap(lambda x, ids: rotate(YARN, x, position_ids=ids))(x, ids) == one_by_one).all()
    assert (jax.vmap(lambda x: rotate(YARN, x, position_ids=ids[0]))(x) == jnp.stack([rotate(YARN, one, position_ids=ids[0]) for one in x])).all()
    packed = jax.vmap(lambda x: rotate(YARN, x[0], layout="thd"))(x)
    assert (packed == jnp.stack([rotate(YARN, one[0], layout="thd") for one in x])).all()
    grad = jax.vmap(jax.grad(lambda x: rotate(YARN, x)[..., 0].sum()))(x)
    assert (grad[3] == jax.grad(lambda x: rotate(YARN, x)[..., 0].sum())(x[3])).all()


def test_several_streams():
    rotary = Rotary(RotarySpec(head_dim=16, theta=100.0, axis_of_pair=(0, 1) * 4))
    x, ids = heads(1, 3, 2, 16), np.array([[[0, 1, 2]], [[5, 6, 5]]])
    assert (np.asarray(jax.jit(lambda x: rotate(rotary, x, position_ids=ids))(x)) == rotary.apply(np.asarray(x), position_ids=ids)).all()


X = jnp.ones((1, 2, 1, 16))
STREAMS = Rotary(RotarySpec(head_dim=16, theta=100.0, axis_of_pair=(0, 1, 2, 0) * 2))


@pytest.mark.parametrize("call, words", [
    (lambda: rotate(PLAIN, X[0]), "q: want 4 axes"),
    (lambda: rotate(PLAIN, X, X[..., :8]), "k: want head_dim 16, got 8"),
    (lambda: rotate(PLAIN, X.astype(jnp.int32)), "q: want float32"),
    (lambda: rotate(PLAIN, X, layout="bsdh"), "layout: want"),
    (lambda: rotate(XPOS, X, inverse=True), "inverse: want a spec that is a rotation"),
    (lambda: rotate(PLAIN, X, position_ids=[0, 1], seqlen_offsets=3), "position_ids: want one word"),
    (lambda: rotate(PLAIN, X, cu_seqlens=[0, 2]), "cu_seqlens: want packed tokens"),
    (lambda: rotate(PLAIN, X, position_ids=jnp.arange(3)), "positions.tokens: want 2, got 3"),
    (lambda: rotate(PLAIN, X, position_ids=3), "position_ids: want .tokens., "),
    (lambda: rotate(PLAIN, X, position_ids=jnp.zeros((1, 1, 1, 2), int)), "position_ids: want .tokens., "),
    (lambda: rotate(PLAIN, X, position_ids=jnp.zeros((3, 1, 2), int)), "position_ids: want .1, batch, tokens., got .3, 1, 2."),
    (lambda: rotate(STREAMS, X, position_ids=jnp.zeros((2, 1, 2), int)), "position_ids: want .3, batch, tokens., got .2, 1, 2."),
    (lambda: rotate(PLAIN, X, position_ids=jnp.array([True, False])), "position_ids: want whole numbers .* got bool"),
    (lambda: rotate(PLAIN, X, position_ids=np.array([0, 2**40])), "position_ids: want numbers of 32 bits"),
    (lambda: rotate(PLAIN, X, position_ids=[0, 2**64]), "position_ids: want numbers of 32 bits"),
    (lambda: rotate(PLAIN, X, seqlen_offsets=2**40), "seqlen_offsets: want numbers of 32 bits"),
    (lambda: rotate(PLAIN, X, seqlen_offsets=2**31 - 1), "seqlen_offsets: want a last position of 32 bits"),
    (lambda: rotate(PLAIN, X, seqlen_offsets=3.5), "seqlen_offsets: want whole numbers"),
    (lambda: rotate(PLAIN, X, seqlen_offsets=[1, 2]), "seqlen_offsets: want 1 entry or one a row .1., got 2"),
    (lambda: rotate(PLAIN, X[0], layout="thd", cu_seqlens=[0, 1]), "cu_seqlens: want it to end at 2"),
    (lambda: rotate(PLAIN, X[0], layout="thd", cu_seqlens=[1, 2]), "cu_seqlens.0.: want 0"),
])
def test_what_is_wrong_is_refused_by_name(call, words):
    with pytest.raises((ropewalk.Error, jax.errors.JaxRuntimeError), match=words):
        jax.block_until_ready(call())
