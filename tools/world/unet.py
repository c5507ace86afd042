"""SDXL's UNet (UNet2DConditionModel with text_time conditioning), at any width; and consistent self-attention.

    x [n, 4, h, w], t [n], text [n, 77, c], pooled [n, p], sizes [n, 6]  ->  [n, 4, h, w]

Three levels: the first without attention, the others with `transformers` layers each. In the up blocks self-attention
may be consistent (StoryDiffusion): a token then sees its own panel and a random half of each other panel.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from blocks import Downsample, Part, ResnetBlock, Upsample, attend


def sinusoids(values, width):
    """[n] -> [n, width]: cosines, then sines, of geometric frequencies (flip_sin_to_cos, freq_shift 0)."""
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=values.device) / half)
    angles = values.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


class Consistency:
    """Who sees whom in one forward pass of stories of `panels` panels each, contiguous in the batch.

    rows     {tokens of a grid: [panels, some] the random half of each panel's tokens that the others may see}: one
             subset per grid and pass, the same for every layer and for every panel that looks
    sees     [stories, panels, panels] which panel looks at which
    active   [layers, stories] a layer is consistent with probability 1 - SKIP, as in the sampler
    """

    SKIP, RATE = .3, .5   # as storydiff --csa masked before step 20

    def __init__(self, panels, rows, sees, active):
        self.panels, self.rows, self.sees, self.active, self.layer = panels, rows, sees, active, 0
        self.others = [[q for q in range(panels) if q != p] for p in range(panels)]

    def extend(self, x):
        """x [stories * panels, tokens, c] -> keys [same, own tokens + chosen tokens of the others, c], and which of
        them each panel may see, [same, 1, 1, keys]."""
        n, tokens, c = x.shape
        panels, rows = self.panels, self.rows[tokens]
        stories = x.view(n // panels, panels, tokens, c)
        some = torch.stack([stories[:, p, rows[p]] for p in range(panels)], 1)
        others = torch.stack([torch.cat([some[:, i] for i in q], 1) for q in self.others], 1).view(n, -1, c)
        seen = torch.stack([torch.stack([self.sees[:, p, i] for i in q], 1) for p, q in enumerate(self.others)], 1)
        seen = (seen & self.active[self.layer][:, None, None]).view(n, panels - 1).repeat_interleave(rows.shape[1], 1)
        self.layer += 1
        seen = torch.cat([torch.ones(n, tokens, dtype=torch.bool, device=x.device), seen], 1)
        return torch.cat([x, others], 1), seen[:, None, None]


class Attention(nn.Module):
    def __init__(self, width, context, heads):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k, self.to_v = nn.Linear(context, width, bias=False), nn.Linear(context, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x, context, seen=None):
        n, tokens, width = x.shape
        q, k, v = (y.view(n, y.shape[1], self.heads, -1).transpose(1, 2)
                   for y in (self.to_q(x), self.to_k(context), self.to_v(context)))
        return self.to_out[0](attend(q, k, v, seen).transpose(1, 2).reshape(n, tokens, width))


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
        x = x + self.attn1(h, *(consistency.extend(h) if consistency else (h,)))
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

        def transformer(level):
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
                block.attentions = nn.ModuleList([transformer(level) for _ in range(layers)])
            if level < last:
                block.downsamplers = nn.ModuleList([Downsample(wide)])
                skips.append(wide)
            self.down_blocks.append(block)
            width = wide
        self.mid_block = Part(resnets=[resnet(width, width), resnet(width, width)], attentions=[transformer(last)])
        for level in range(last, -1, -1):
            wide = widths[level]
            block = Part(resnets=[resnet((width if i == 0 else wide) + skips.pop(), wide) for i in range(layers + 1)])
            if transformers[level]:
                block.attentions = nn.ModuleList([transformer(level) for _ in range(layers + 1)])
            if level > 0:
                block.upsamplers = nn.ModuleList([Upsample(wide)])
            self.up_blocks.append(block)
            width = wide
        self.conv_norm_out = nn.GroupNorm(groups, width, 1e-5)
        self.conv_out = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x, t, text, pooled, sizes, consistency=None):
        size = sinusoids(sizes.reshape(-1), self.size_width).view(len(x), -1)
        with torch.autocast(x.device.type, enabled=False):   # bfloat16 would blur the time
            time = F.silu(embed(self.time_embedding, sinusoids(t, self.first))
                          + embed(self.add_embedding, torch.cat([pooled.float(), size], 1)))
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
