"""CLIP's text encoder, twice: SDXL conditions on both.

    ids [n, 77] -> hidden states before the last layer, without the final norm  [n, 77, width]
                -> pooled (encoder 2): final norm at the end token, projected   [n, pooled]

The surprise: encoder 1's last layer and final norm are in the checkpoint but touch nothing, so they are not computed.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from blocks import Part

ACTIVATION = dict(gelu=F.gelu, quick_gelu=lambda x: x * torch.sigmoid(1.702 * x))


class Layer(nn.Module):
    def __init__(self, width, heads, activation):
        super().__init__()
        self.heads, self.activation = heads, ACTIVATION[activation]
        self.self_attn = Part(**{f'{name}_proj': nn.Linear(width, width) for name in ('q', 'k', 'v', 'out')})
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = Part(fc1=nn.Linear(width, 4 * width), fc2=nn.Linear(4 * width, width))

    def forward(self, x, mask):
        n, length, width = x.shape
        a, h = self.self_attn, self.layer_norm1(x)
        q, k, v = (proj(h).view(n, length, self.heads, -1).transpose(1, 2) for proj in (a.q_proj, a.k_proj, a.v_proj))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask
        x = x + a.out_proj((torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(n, length, width))
        return x + self.mlp.fc2(self.activation(self.mlp.fc1(self.layer_norm2(x))))


class TextEncoder(nn.Module):
    def __init__(self, vocabulary, width, layers, heads, activation, pooled=0, length=77):
        super().__init__()
        self.pooled = pooled
        self.text_model = Part(
            embeddings=Part(token_embedding=nn.Embedding(vocabulary, width),
                            position_embedding=nn.Embedding(length, width)),
            encoder=Part(layers=[Layer(width, heads, activation) for _ in range(layers)]),
            final_layer_norm=nn.LayerNorm(width))
        nn.init.normal_(self.text_model.embeddings.token_embedding.weight, std=.5)
        nn.init.normal_(self.text_model.embeddings.position_embedding.weight, std=.1)
        if pooled:
            self.text_projection = nn.Linear(width, pooled, bias=False)

    def forward(self, ids):
        model, length = self.text_model, ids.shape[1]
        x = model.embeddings.token_embedding(ids) + model.embeddings.position_embedding.weight[:length]
        mask = torch.full((length, length), -math.inf, device=x.device).triu(1)
        *most, last = model.encoder.layers
        for layer in most:
            x = layer(x, mask)
        if not self.pooled:
            return x, None
        end = ids.argmax(dim=1)   # the end token has the largest id; only its first place counts
        y = model.final_layer_norm(last(x, mask))[torch.arange(len(ids), device=ids.device), end]
        return x, self.text_projection(y)
