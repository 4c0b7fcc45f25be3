"""Other people's words for the same thing: one module a library, each with that library's names, order and polarity.

    flash_attn    apply_rotary_emb(x, cos, sin, interleaved=False, ...)
    vllm          rotary_embedding(positions, query, key, head_size, cos_sin_cache, is_neox)
    transformers  apply_rotary_pos_emb(q, k, cos, sin, unsqueeze_dim=1)
    onnx          the opset-23 node RotaryEmbedding, and its export from torch
    ggml          rope_spec(head_dim, n_dims, mode, ...): mode numbers and parameters as a RotarySpec

All but ggml take tensors of torch. What these libraries take without a word and get wrong is refused here.
"""
