"""Four processes give what one gives: DTensor's shards, context parallelism's ring, and FSDP2."""

import os
import socket
import sys

import pytest
import ropewalk
import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # before a group is there, which it would keep beyond its end (ropewalk.hf says more)
from ropewalk import Rotary, RotarySpec
from ropewalk.torch import RotaryEmbedding, apply_rotary_emb_qk, rotate, rotate_

RANKS = 4
LLAMA = Rotary(RotarySpec(head_dim=16, theta=1e4))


def dtensors(mesh):
    """Batch, tokens, heads and channels, with every way to say positions: the same bits, and the shards stay where they are."""
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

    streams = Rotary(RotarySpec(head_dim=16, theta=1e4, axis_of_pair=(0,) * 4 + (1,) * 4))
    apart = Rotary(RotarySpec(head_dim=16, given=ropewalk.GivenFrequencies(tuple(torch.rand(4 * 8).tolist()), heads=4)))
    table = [torch.from_numpy(one) for one in LLAMA.cos_sin(range(64))]
    for layout in ("bshd", "bhsd"):
        shape = (4, 8, 4, 16) if layout == "bshd" else (4, 4, 8, 16)
        q, k, g = torch.randn(shape), torch.randn(shape), torch.randn(shape)
        rows = torch.randint(0, 56, (4, 8))
        tokens_axis, heads_axis = (1, 2) if layout == "bshd" else (2, 1)
        for placement in (Shard(0), Shard(tokens_axis), Shard(heads_axis), Shard(3), Replicate()):
            for where in ({}, {"seqlen_offsets": 3}, {"position_ids": rows[0]}, {"position_ids": rows}, {"seqlen_offsets": rows[:, 0]}):
                for turn in (lambda q, k, **w: rotate(LLAMA, q, k, **w), lambda q, k, **w: apply_rotary_emb_qk(q, k, *table, **w)):
                    a, b = (distribute_tensor(one, mesh, [placement]).requires_grad_() for one in (q, k))
                    leaf = q.clone().requires_grad_()
                    got, wanted = turn(a, b, layout=layout, **where), turn(leaf, k, layout=layout, **where)
                    assert all(torch.equal(x.full_tensor(), y) for x, y in zip(got, wanted)), (layout, placement, where)
                    if placement != Shard(3):
                        assert got[0].placements == got[1].placements == (placement,)
                    got[0].backward(distribute_tensor(g, mesh, [placement]))
                    wanted[0].backward(g)
                    assert torch.equal(a.grad.full_tensor(), leaf.grad)
            p = torch.randint(0, 99, (2, 4, 8))
            got = rotate(streams, distribute_tensor(q, mesh, [placement]), position_ids=p, layout=layout)
            assert torch.equal(got.full_tensor(), rotate(streams, q, position_ids=p, layout=layout))
            got = rotate(apart, distribute_tensor(q, mesh, [placement]), layout=layout)
            assert torch.equal(got.full_tensor(), rotate(apart, q, layout=layout))
            cos, sin = (one[rows] for one in table)
            got = apply_rotary_emb_qk(distribute_tensor(q, mesh, [placement]), distribute_tensor(k, mesh, [placement]), cos, sin, layout=layout)
            assert torch.equal(got[0].full_tensor(), rotate(LLAMA, q, position_ids=rows, layout=layout))
    # one key head for all query heads, which are sharded
    q, k = torch.randn(4, 8, 4, 16), torch.randn(4, 8, 1, 16)
    got = rotate(LLAMA, distribute_tensor(q, mesh, [Shard(2)]), distribute_tensor(k, mesh, [Replicate()]))
    assert got[0].placements == (Shard(2),) and got[1].placements == (Replicate(),)
    # positions that are a DTensor already, sharded with the tokens
    p = torch.randint(0, 99, (4, 8))
    got = rotate(LLAMA, distribute_tensor(q, mesh, [Shard(1)]), position_ids=distribute_tensor(p, mesh, [Shard(1)]))
    assert torch.equal(got.full_tensor(), rotate(LLAMA, q, position_ids=p)) and isinstance(got, DTensor)
    x = distribute_tensor(q, mesh, [Shard(1)])
    rotate_(LLAMA, x)
    assert torch.equal(x.full_tensor(), rotate(LLAMA, q))


class Ring(torch.autograd.Function):
    """torch's ring attention over the CPU's flash attention, which torch itself rings for other devices only."""

    @staticmethod
    def forward(ctx, mesh, q, k, v):
        from torch.distributed.tensor.experimental._context_parallel import _attention as ring

        forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        op = lambda q, k, v, is_causal, **more: (*forward(q, k, v, is_causal=is_causal, **more), None)  # noqa: E731
        out, logsumexp, *_ = ring._templated_ring_attention(mesh.get_group(), 2, op, query=q, key=k, value=v, is_causal=True)
        ctx.mesh = mesh
        ctx.save_for_backward(q, k, v, out, logsumexp)
        return out

    @staticmethod
    def backward(ctx, grad):
        from torch.distributed.tensor.experimental._context_parallel import _attention as ring

        q, k, v, out, logsumexp = ctx.saved_tensors
        backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        op = lambda **named: (*backward(named.pop("grad_out"), dropout_p=0.0, **named), None)  # noqa: E731
        logsumexp = logsumexp.squeeze(-1) if logsumexp.ndim == 4 else logsumexp
        grads = ring._templated_ring_attention_backward(
            ctx.mesh.get_group(), 2, op, grad_out=grad.contiguous(), grad_out_name="grad_out", query=q, key=k, value=v, out=out,
            logsumexp=logsumexp, is_causal=True)
        return None, *grads[:3]


def context_parallel(mesh):
    """Zigzag shards with the positions of positions_for_rank, or with position_ids sharded beside the tokens: one process's attention."""
    from torch.distributed.tensor.experimental import context_parallel as parallel
    from torch.distributed.tensor.experimental._attention import context_parallel_unshard
    from torch.distributed.tensor.experimental._context_parallel import _attention as ring
    from torch.distributed.tensor.experimental._context_parallel._load_balancer import _HeadTailLoadBalancer

    tokens = 8 * RANKS
    q, k, v = (torch.randn(2, 3, tokens, 16) for _ in range(3))
    leaves = [one.clone().requires_grad_() for one in (q, k, v)]
    turned = rotate(LLAMA, leaves[0], leaves[1], layout="bhsd", seqlen_offsets=100)
    wanted = torch.nn.functional.scaled_dot_product_attention(*turned, leaves[2], is_causal=True)
    wanted.square().sum().backward()

    ids = torch.arange(100, 100 + tokens)
    buffers = [q.clone(), k.clone(), v.clone(), ids]
    with parallel(mesh, buffers=buffers, buffer_seq_dims=[2, 2, 2, 0], no_restore_buffers=set(buffers)):
        local = [one.clone().requires_grad_() for one in buffers[:3]]
        by_rank = ropewalk.positions_for_rank(tokens, RANKS, mesh.get_local_rank(), scheme="zigzag", first=100)
        assert ids.tolist() == list(by_rank)  # torch's shards and ours hold the same tokens
        assert ring._cp_options.enable_load_balance
        turned = rotate(LLAMA, local[0], local[1], layout="bhsd", position_ids=by_rank)
        again = rotate(LLAMA, local[0], local[1], layout="bhsd", position_ids=ids)
        assert all(torch.equal(a, b) for a, b in zip(turned, again))
        out = Ring.apply(mesh, *turned, local[2])
        out.square().sum().backward()
    balancer = _HeadTailLoadBalancer(tokens, RANKS, "cpu")
    whole = context_parallel_unshard(mesh, [out.detach(), *(one.grad for one in local)], [2] * 4, balancer)
    assert (whole[0] - wanted).abs().max() < 1e-5
    for got, leaf in zip(whole[1:], leaves):
        assert (got - leaf.grad).abs().max() < 1e-4 * leaf.grad.abs().max()
    # counting from 0 on each rank, as code that is not told does, is not the same
    local_only = rotate(LLAMA, local[0].detach(), layout="bhsd")
    assert not torch.equal(local_only, turned[0])


def fsdp(mesh):
    """A module without parameters goes through fully_shard, and the whole gives one process's gradients."""
    from torch.distributed.fsdp import fully_shard

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.qk, self.rope = torch.nn.Linear(32, 32), RotaryEmbedding(LLAMA)

        def forward(self, x, p):
            q, k = self.qk(x).unflatten(-1, (2, 16)).split(1, dim=2)
            q, k = self.rope(q, k, position_ids=p)
            return (q * k).sum(-1)

    torch.manual_seed(1)
    one, many = Layer(), Layer()
    many.load_state_dict(one.state_dict())
    fully_shard(many.rope, mesh=mesh)
    fully_shard(many, mesh=mesh)
    x, p = torch.randn(RANKS, 6, 32), torch.arange(6) + 1000
    one(x, p).square().sum().backward()
    rank = mesh.get_local_rank()
    (RANKS * many(x[rank : rank + 1], p).square().sum()).backward()
    assert (many.qk.weight.grad.full_tensor() - one.qk.weight.grad).abs().max() < 1e-3 * one.qk.weight.grad.abs().max()
    assert set(many.state_dict()) == {"qk.weight", "qk.bias"}


def work(rank, port):
    from torch.distributed.device_mesh import init_device_mesh

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=RANKS)
    mesh = init_device_mesh("cpu", (RANKS,))
    for part in (dtensors, context_parallel, fsdp):
        torch.manual_seed(0)
        try:
            part(mesh)
        except Exception as error:
            raise AssertionError(f"{part.__name__} on rank {rank}") from error
        dist.barrier()
    dist.destroy_process_group()


def test_four_processes_give_what_one_gives():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(work, (port,), nprocs=RANKS)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_zigzag_shards_of_torch_are_ours(ranks):
    from torch.distributed.tensor.experimental._context_parallel._load_balancer import _HeadTailLoadBalancer

    order = _HeadTailLoadBalancer(32, ranks, "cpu")._generate_indices().flatten().reshape(ranks, -1)
    for rank in range(ranks):
        assert order[rank].tolist() == list(ropewalk.positions_for_rank(32, ranks, rank, scheme="zigzag"))
