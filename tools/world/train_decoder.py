"""Stage 4, any time after stage 1: a sharper decoder for the same latents.

    python3 train_decoder.py configs/cpu.json RUN

The encoder is frozen, so what the UNet has learned stays valid. Latents get a little noise, because the UNet's
will never be as clean as the encoder's.
"""
import sys

import torch

from loop import Loop, Parallel, read_config
from train_vae import crops, images, pixels, psnr
from vae import VAE
from world import EVERYTHING, draw, sheet, story

NOISE = .05


def main(config_path, run):
    config = read_config(config_path)
    options = config['train']['decoder']
    vae, parallel = VAE(**config['vae']), Parallel(options['workers'])
    vae.load_state_dict(torch.load(f'{run}/vae-white.pt', map_location='cpu'))
    for part in (vae.encoder, vae.quant_conv):
        part.requires_grad_(False)
    loop = Loop(f'{run}/decoder.pt', vae, options['steps'], options['rate'], average=.995)

    def losses(x):
        with torch.no_grad():
            z = vae.encode(x)[0]
        error = vae.decode(z + NOISE * torch.randn_like(z)) - x
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        return error.abs().mean() + error.square().mean() + .5 * edges, dict(squared=error.square().mean().detach())

    reports = []
    for step in loop:
        torch.manual_seed(config['seed'] * 1000003 + step)
        x = crops(config['seed'] + 1, step, options['batch'], options['crop'])
        reports += parallel.gradients(loop.parameters, losses, x.chunk(options['workers']))
        loop.update()
        if (step + 1) % 100 == 0:
            loop.log(psnr=psnr(sum(r['squared'] for r in reports) / len(reports)))
            reports = []
    if loop.stopping:
        return
    vae.load_state_dict(loop.average)
    with torch.no_grad():
        x = pixels([draw(story(-1, i, EVERYTHING, 1)[0], config['pixels']) for i in range(96)])
        again = torch.cat([vae.decode(vae.encode(part)[0]) for part in x.split(16)]).clamp(-1, 1)
    print(f'unseen panels: {psnr((again - x).square().mean()):.2f} dB')
    torch.save(vae.state_dict(), f'{run}/vae-sharp.pt')
    rows = [i for k in range(0, 32, 8) for i in (images(x[k:k + 8]), images(again[k:k + 8]))]
    sheet(rows, config['pixels']).save(f'{run}/decoder.png')


if __name__ == '__main__':
    main(*sys.argv[1:])
