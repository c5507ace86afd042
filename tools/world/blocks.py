"""What UNet and VAE share: attention, residual block, halving, doubling. Attribute names are diffusers' tensor names.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def attend(q, k, v, seen=None):
    """softmax(q k^T / sqrt(d)) v; seen: where a query may look, None: everywhere."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if seen is not None:
        scores = scores.masked_fill(~seen, -math.inf)
    return torch.softmax(scores, -1) @ v


class Part(nn.Module):
    """A named box without arithmetic of its own, so that names nest as in a checkpoint (`mid_block.resnets.0`)."""

    def __init__(self, **children):
        super().__init__()
        for name, child in children.items():
            setattr(self, name, nn.ModuleList(child) if isinstance(child, list) else child)


class ResnetBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x))) + time))); a 1x1 shortcut where the width changes."""

    def __init__(self, inputs, outputs, groups, eps, time=0):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, outputs) if time else None
        self.norm2 = nn.GroupNorm(groups, outputs, eps)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None
        nn.init.zeros_(self.conv2.bias)
        self.conv2.weight.data.mul_(.1)   # starts close to the identity: trains faster

    def forward(self, x, time=None):
        h = self.conv1(F.silu(self.norm1(x)))
        if time is not None:
            h = h + self.time_emb_proj(time)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + h


class Downsample(nn.Module):
    """Stride 2. The UNet pads all round; the VAE's encoder right and bottom only."""

    def __init__(self, width, one_sided=False):
        super().__init__()
        self.one_sided = one_sided
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=0 if one_sided else 1)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.one_sided else x)


class Upsample(nn.Module):
    """Nearest neighbour, then a convolution."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode='nearest'))
