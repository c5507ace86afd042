"""AutoencoderKL: panels to latents and back.

    encode   [n, 3, H, W] in -1..1 -> mean, log variance, each [n, 4, H/f, W/f]
    decode   [n, 4, H/f, W/f]      -> [n, 3, H, W]            f = 2^(levels - 1)

The surprise: all of its norms have eps 1e-6, which no config file says.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

import weights
from blocks import Downsample, Part, ResnetBlock, Upsample, attend

EPS = 1e-6


class SpatialAttention(nn.Module):
    """Every place attends to every place, one head."""

    def __init__(self, width, groups):
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, width, EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x):
        n, c, height, width = x.shape
        h = self.group_norm(x).flatten(2).transpose(1, 2)
        h = self.to_out[0](attend(self.to_q(h), self.to_k(h), self.to_v(h)))
        return x + h.transpose(1, 2).reshape(n, c, height, width)


def middle(width, groups):
    return Part(resnets=[ResnetBlock(width, width, groups, EPS) for _ in range(2)],
                attentions=[SpatialAttention(width, groups)])


def through_middle(block, x):
    return block.resnets[1](block.attentions[0](block.resnets[0](x)))


class VAE(nn.Module):
    def __init__(self, widths, layers, latent_channels, groups):
        super().__init__()
        last = len(widths) - 1
        down, up, width = [], [], widths[0]
        for level, wide in enumerate(widths):
            block = Part(resnets=[ResnetBlock(width if i == 0 else wide, wide, groups, EPS) for i in range(layers)])
            if level < last:
                block.downsamplers = nn.ModuleList([Downsample(wide, one_sided=True)])
            down.append(block)
            width = wide
        self.encoder = Part(conv_in=nn.Conv2d(3, widths[0], 3, padding=1), down_blocks=down,
                            mid_block=middle(width, groups), conv_norm_out=nn.GroupNorm(groups, width, EPS),
                            conv_out=nn.Conv2d(width, 2 * latent_channels, 3, padding=1))
        conv_in = nn.Conv2d(latent_channels, width, 3, padding=1)
        for level, wide in enumerate(reversed(widths)):
            block = Part(resnets=[ResnetBlock(width if i == 0 else wide, wide, groups, EPS)
                                  for i in range(layers + 1)])
            if level < last:
                block.upsamplers = nn.ModuleList([Upsample(wide)])
            up.append(block)
            width = wide
        self.decoder = Part(conv_in=conv_in, mid_block=middle(widths[-1], groups), up_blocks=up,
                            conv_norm_out=nn.GroupNorm(groups, width, EPS),
                            conv_out=nn.Conv2d(width, 3, 3, padding=1))
        self.quant_conv = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)

    def encode(self, x):
        net = self.encoder
        h = net.conv_in(x)
        for block in net.down_blocks:
            for resnet in block.resnets:
                h = resnet(h)
            if hasattr(block, 'downsamplers'):
                h = block.downsamplers[0](h)
        h = net.conv_out(F.silu(net.conv_norm_out(through_middle(net.mid_block, h))))
        mean, log_variance = self.quant_conv(h).chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def decode(self, z):
        net = self.decoder
        h = through_middle(net.mid_block, net.conv_in(self.post_quant_conv(z)))
        for block in net.up_blocks:
            for resnet in block.resnets:
                h = resnet(h)
            if hasattr(block, 'upsamplers'):
                h = block.upsamplers[0](h)
        return net.conv_out(F.silu(net.conv_norm_out(h)))

    @torch.no_grad()
    def whiten(self, latents, power):
        """Make latents like these have mean 0, covariance C^(1 - 2 power) and mean variance 1, without changing a
        single picture.

        With m the mean and C the covariance over places, z' = s C^-power (z - m) is linear, so it folds exactly into
        the 1x1 quant_conv, and its inverse into post_quant_conv. Diffusion then needs no scaling factor. A power of
        1/2 makes all directions equal, 0 leaves them as they are.
        """
        n = latents.shape[1]
        rows = latents.permute(0, 2, 3, 1).reshape(-1, n).double()
        mean = rows.mean(0)
        eigenvalues, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
        factors = eigenvalues.pow(-power) / eigenvalues.pow(1 - 2 * power).mean().sqrt()
        shrink = vectors @ torch.diag(factors) @ vectors.T
        grow = vectors @ torch.diag(1 / factors) @ vectors.T
        quant, post = self.quant_conv, self.post_quant_conv
        quant.bias[:n] = (shrink @ (quant.bias[:n].double() - mean)).to(quant.bias)
        quant.weight[:n, :, 0, 0] = (shrink @ quant.weight[:n, :, 0, 0].double()).to(quant.weight)
        old = post.weight[:, :, 0, 0].double()
        post.bias += (old @ mean).to(post.bias)
        post.weight[:, :, 0, 0] = (old @ grow).to(post.weight)
        return eigenvalues.tolist()


def read_vae(folder, name='diffusion_pytorch_model'):
    """From the diffusers layout."""
    c = weights.read_config(folder)
    vae = VAE(c['block_out_channels'], c['layers_per_block'], c['latent_channels'], c['norm_num_groups'])
    return weights.load(vae, folder, name)
