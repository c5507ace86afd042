"""SDXL's UNet (UNet2DConditionModel with text_time conditioning), at any width; and consistent self-attention.

    x [n, 4, h, w], t [n], text [n, 77, c], pooled [n, p], sizes [n, 6]  ->  [n, 4, h, w]

Three levels: the first without attention, the others with `transformers` layers each. In the up blocks self-attention
may be consistent (StoryDiffusion): a token then sees its own panel and a random half of each other panel.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from blocks import Downsample, Part, ResnetBlock, Upsample


def sinusoids(values, width):
    """[n] -> [n, width]: cosines, then sines, of geometric frequencies (flip_sin_to_cos, freq_shift 0)."""
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=values.device) / half)
    angles = values.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


class Consistency:
    """Who sees whom in one forward pass of stories of `panels` panels each, contiguous in the batch.

    A layer is consistent with probability 1 - SKIP, as in the sampler. The random half of a panel's tokens is one
    subset per grid size and pass, the same for every layer and for every panel that looks. `sees` [stories, panels,
    panels] says which panel looks at which.
    """

    SKIP, RATE = .3, .5   # as storydiff --csa masked before step 20

    def __init__(self, panels, rng, sees):
        self.panels, self.rng, self.sees = panels, rng, sees
        self.chosen = {}

    def rows(self, tokens):
        if tokens not in self.chosen:
            count = max(1, round(self.RATE * tokens))
            self.chosen[tokens] = torch.tensor([self.rng.sample(range(tokens), count) for _ in range(self.panels)])
        return self.chosen[tokens]

    def extend(self, x):
        """x [stories * panels, tokens, c] -> keys [same, own tokens + chosen tokens of the others, c], and what to
        add to the scores [same, 1, 1, keys]: nothing, or minus infinity where a panel does not look."""
        n, tokens, c = x.shape
        panels = self.panels
        stories = x.view(n // panels, panels, tokens, c)
        rows = self.rows(tokens).to(x.device)
        some = torch.stack([stories[:, p, rows[p]] for p in range(panels)], 1)
        others = [torch.cat([some[:, q] for q in range(panels) if q != p], 1) for p in range(panels)]
        seen = [self.sees[:, p, [q for q in range(panels) if q != p]] for p in range(panels)]
        seen = torch.stack(seen, 1).view(n, panels - 1).to(x.device).repeat_interleave(rows.shape[1], 1)
        bias = torch.zeros(n, tokens + seen.shape[1], device=x.device)
        bias[:, tokens:].masked_fill_(~seen, -math.inf)
        return torch.cat([x, torch.stack(others, 1).view(n, -1, c)], 1), bias[:, None, None]

    def active(self):
        return self.rng.random() > self.SKIP


class Attention(nn.Module):
    def __init__(self, width, context, heads):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k, self.to_v = nn.Linear(context, width, bias=False), nn.Linear(context, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x, context, bias=0):
        n, tokens, width = x.shape
        q, k, v = (y.view(n, y.shape[1], self.heads, -1).transpose(1, 2)
                   for y in (self.to_q(x), self.to_k(context), self.to_v(context)))
        scores = q @ k.transpose(-1, -2) / math.sqrt(width // self.heads) + bias
        return self.to_out[0]((torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(n, tokens, width))


class GatedProjection(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.proj = nn.Linear(width, 8 * width)

    def forward(self, x):
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class TransformerLayer(nn.Module):
    def __init__(self, width, context, heads):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn1, self.attn2 = Attention(width, width, heads), Attention(width, context, heads)
        self.ff = Part(net=[GatedProjection(width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x, text, consistency):
        h = self.norm1(x)
        x = x + self.attn1(h, *(consistency.extend(h) if consistency and consistency.active() else (h,)))
        x = x + self.attn2(self.norm2(x), text)
        return x + self.ff.net[2](self.ff.net[0](self.norm3(x)))


class Transformer(nn.Module):
    """Norm, tokens, linear projection, layers, back: and the input added."""

    def __init__(self, width, context, heads, layers, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, 1e-6)
        self.proj_in, self.proj_out = nn.Linear(width, width), nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([TransformerLayer(width, context, heads) for _ in range(layers)])
        self.proj_out.weight.data.mul_(.1)

    def forward(self, x, text, consistency=None):
        n, c, height, width = x.shape
        h = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        for layer in self.transformer_blocks:
            h = layer(h, text, consistency)
        return x + self.proj_out(h).transpose(1, 2).reshape(n, c, height, width)


def embedding(inputs, outputs):
    return Part(linear_1=nn.Linear(inputs, outputs), linear_2=nn.Linear(outputs, outputs))


def embed(part, x):
    return part.linear_2(F.silu(part.linear_1(x)))


class UNet(nn.Module):
    def __init__(self, widths, layers, transformers, heads, groups, size_width, context, pooled, channels=4):
        super().__init__()
        self.first, self.size_width = widths[0], size_width
        time, last = 4 * widths[0], len(widths) - 1

        def resnet(inputs, outputs):
            return ResnetBlock(inputs, outputs, groups, 1e-5, time)

        def attend(level):
            wide = widths[level]
            return Transformer(wide, context, heads[level], transformers[level], groups)

        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.time_embedding = embedding(widths[0], time)
        self.add_embedding = embedding(pooled + 6 * size_width, time)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        width, skips = widths[0], [widths[0]]
        for level, wide in enumerate(widths):
            block = Part(resnets=[resnet(width if i == 0 else wide, wide) for i in range(layers)])
            skips += [wide] * layers
            if transformers[level]:
                block.attentions = nn.ModuleList([attend(level) for _ in range(layers)])
            if level < last:
                block.downsamplers = nn.ModuleList([Downsample(wide)])
                skips.append(wide)
            self.down_blocks.append(block)
            width = wide
        self.mid_block = Part(resnets=[resnet(width, width), resnet(width, width)], attentions=[attend(last)])
        for level in range(last, -1, -1):
            wide = widths[level]
            block = Part(resnets=[resnet((width if i == 0 else wide) + skips.pop(), wide) for i in range(layers + 1)])
            if transformers[level]:
                block.attentions = nn.ModuleList([attend(level) for _ in range(layers + 1)])
            if level > 0:
                block.upsamplers = nn.ModuleList([Upsample(wide)])
            self.up_blocks.append(block)
            width = wide
        self.conv_norm_out = nn.GroupNorm(groups, width, 1e-5)
        self.conv_out = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x, t, text, pooled, sizes, consistency=None):
        size = sinusoids(sizes.reshape(-1), self.size_width).view(len(x), -1)
        time = F.silu(embed(self.time_embedding, sinusoids(t, self.first))
                      + embed(self.add_embedding, torch.cat([pooled, size], 1)))
        h = self.conv_in(x)
        skips = [h]
        for block in self.down_blocks:
            for i, resnet in enumerate(block.resnets):
                h = resnet(h, time)
                if hasattr(block, 'attentions'):
                    h = block.attentions[i](h, text)
                skips.append(h)
            if hasattr(block, 'downsamplers'):
                h = block.downsamplers[0](h)
                skips.append(h)
        first, second = self.mid_block.resnets
        h = second(self.mid_block.attentions[0](first(h, time), text), time)
        for block in self.up_blocks:
            for i, resnet in enumerate(block.resnets):
                h = resnet(torch.cat([h, skips.pop()], 1), time)
                if hasattr(block, 'attentions'):
                    h = block.attentions[i](h, text, consistency)
            if hasattr(block, 'upsamplers'):
                h = block.upsamplers[0](h)
        return self.conv_out(F.silu(self.conv_norm_out(h)))
