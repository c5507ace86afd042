"""Stage 4: the autoencoder grows a level, and draws panels twice as large from the same latents.

    python3 train_grow.py configs/cpu.json RUN

The UNet learns the latents of small panels. A flat drawing of twice the size says little that the small one does
not, so the decoder gets one more level, which learns to draw large panels from the small ones' latents, and the
encoder one more at its beginning, which learns to give a large panel the latents of the small one. 4x becomes 8x, all
that stage 1 taught is kept, and a panel of 128 px costs the UNet what one of 64 px did. Panels are those of the
configuration's world, the only ones that the UNet will ask for.
"""
import random
import sys

import torch

from loop import DEVICE, Loop, Parallel, read_config
from train_vae import images, pixels, psnr
from vae import VAE
from world import draw, sheet, story

NOISE = .05   # on the latents: the UNet's will never be as clean as the encoder's
WHOLE = 4     # each fourth step sees whole panels, the others crops of half their width


def inherit(grown, small):
    """The old weights to their new places: encoder levels move down by one, decoder levels stay."""
    old, new = small.state_dict(), grown.state_dict()
    for name, value in old.items():
        parts = name.split('.')
        if name.startswith('encoder.down_blocks'):
            parts[2] = str(int(parts[2]) + 1)
        name = '.'.join(parts)
        if not name.startswith(('encoder.conv_in', 'decoder.conv_norm_out', 'decoder.conv_out')):
            new[name].copy_(value)
    grown.load_state_dict(new)


class Pairs:
    """Large panels and the latents of the same panels drawn small, whole or cropped to the same place."""

    def __init__(self, config, small):
        self.seed, self.world, self.small, self.large = config['seed'], config['world'], small, config['pixels']
        self.small_pixels = config['vae']['pixels']
        self.factor = self.large // self.small_pixels * 2 ** (len(config['vae']['small']['widths']) - 1)

    @torch.no_grad()
    def get(self, step, count):
        rng = random.Random(f'{self.seed}/grow/{step}')
        panels = [story(self.seed, rng.randrange(1 << 30), self.world, 1)[0] for _ in range(count)]
        x = pixels([draw(p, self.large) for p in panels]).to(DEVICE)
        z = self.small.encode(pixels([draw(p, self.small_pixels) for p in panels]).to(DEVICE))[0]
        if step % WHOLE == WHOLE - 1:
            return x, z
        cells, out_x, out_z = z.shape[-1] // 2, [], []
        for i in range(count):
            for _ in range(2):
                top, left = rng.randrange(cells + 1), rng.randrange(cells + 1)
                out_z.append(z[i, :, top:top + cells, left:left + cells])
                top, left, size = top * self.factor, left * self.factor, cells * self.factor
                out_x.append(x[i, :, top:top + size, left:left + size])
        return torch.stack(out_x), torch.stack(out_z)


def main(config_path, run):
    config = read_config(config_path)
    options = config['train']['grow']
    torch.manual_seed(config['seed'])
    small, grown = VAE(**config['vae']['small']).to(DEVICE).eval(), VAE(**config['vae']['grown']).to(DEVICE)
    small.load_state_dict(torch.load(f'{run}/vae-white.pt', map_location=DEVICE))
    inherit(grown, small)
    parallel, pairs = Parallel(options['workers']), Pairs(config, small)
    loop = Loop(f'{run}/grow.pt', grown, options['steps'], options['rate'], average=.99)

    def losses(part):
        x, z = part
        error = grown.decode(z + NOISE * torch.randn_like(z)) - x
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        latent = (grown.encode(x)[0] - z).square().mean()
        loss = error.abs().mean() + error.square().mean() + .5 * edges + .3 * latent
        return loss, dict(squared=error.square().mean().detach(), latent=latent.detach())

    reports = []
    for step in loop:
        torch.manual_seed(config['seed'] * 1000003 + step)
        x, z = pairs.get(step, options['batch'])
        parts = list(zip(x.chunk(options['workers']), z.chunk(options['workers'])))
        reports += parallel.gradients(loop.parameters, losses, parts)
        loop.update()
        if (step + 1) % 50 == 0:
            mean = {k: sum(r[k] for r in reports) / len(reports) for k in reports[0]}
            loop.log(psnr=psnr(mean['squared']), latent=mean['latent'])
            reports = []
    if loop.stopping:
        return
    grown.load_state_dict(loop.average)
    grown, small = grown.cpu(), small.cpu()
    torch.save(grown.state_dict(), f'{run}/vae-grown.pt')
    panels = [story(-1, i, config['world'], 1)[0] for i in range(64)]
    x = pixels([draw(p, pairs.large) for p in panels])
    with torch.no_grad():
        z = small.encode(pixels([draw(p, pairs.small_pixels) for p in panels]))[0]
        from_small, again = grown.decode(z).clamp(-1, 1), grown.decode(grown.encode(x)[0]).clamp(-1, 1)
    print(f'unseen panels: {psnr((from_small - x).square().mean()):.2f} dB from the latents of small ones, '
          f'{psnr((again - x).square().mean()):.2f} dB encoded and decoded')
    rows = [i for k in range(0, 32, 8) for i in (images(x[k:k + 8]), images(from_small[k:k + 8]))]
    sheet(rows, pairs.large).save(f'{run}/grown.png')


if __name__ == '__main__':
    main(*sys.argv[1:])
