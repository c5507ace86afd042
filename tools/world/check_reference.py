"""Are these modules what diffusers and CLIP compute? Loads recorded weights by name and compares recorded outputs.

    python3 check_reference.py ../../tests/golden

Every name and shape must match, no tensor may be left over, and outputs must agree to 1e-4 of their size.
"""
import sys

import torch

import weights
from clip import TextEncoder
from unet import UNet
from vae import read_vae


def compare(what, ours, expected):
    worst = ((ours - expected).abs().max() / expected.abs().max()).item()
    print(f'{what}: {worst:.1e}')
    return worst < 1e-4


@torch.no_grad()
def main(golden):
    good = []
    folder = f'{golden}/unet-sdxl'
    c, io = weights.read_config(folder), weights.read(f'{folder}/io-16x12.safetensors')
    depths = [depth if kind.startswith('CrossAttn') else 0
              for depth, kind in zip(c['transformer_layers_per_block'], c['down_block_types'])]
    unet = UNet(c['block_out_channels'], c['layers_per_block'], depths, c['attention_head_dim'], c['norm_num_groups'],
                c['addition_time_embed_dim'], c['cross_attention_dim'],
                c['projection_class_embeddings_input_dim'] - 6 * c['addition_time_embed_dim'])
    weights.load(unet, folder, 'diffusion_pytorch_model')
    t = io['timestep'].expand(len(io['sample']))
    out = unet(io['sample'], t, io['encoder_hidden_states'], io['text_embeds'], io['time_ids'])
    good.append(compare('UNet', out, io['output']))

    folder = f'{golden}/vae'
    vae, io = read_vae(folder), weights.read(f'{folder}/io-8x8.safetensors')
    latents = io['latents'] / weights.read_config(folder)['scaling_factor']
    good.append(compare('VAE decoder', vae.decode(latents), io['decoded']))
    mean, log_variance = vae.encode(io['image'])
    good.append(compare('VAE encoder', mean, io['mean']) and compare('log variance', log_variance, io['logvar']))

    for name in ('encoder-1-quick-gelu', 'encoder-2-gelu-projection'):
        folder = f'{golden}/clip/{name}'
        c, io = weights.read_config(folder), weights.read(f'{folder}/io.safetensors')
        pooled = c['projection_dim'] if 'text_embeds' in io else 0
        text = weights.load(TextEncoder(c['vocab_size'], c['hidden_size'], c['num_hidden_layers'],
                                        c['num_attention_heads'], c['hidden_act'], pooled), folder, 'model')
        states, embeds = text(io['input_ids'])
        good.append(compare(name, states, io[f'hidden_states.{c["num_hidden_layers"] - 1}']))
        if pooled:
            good.append(compare('pooled', embeds, io['text_embeds']))
    return 0 if all(good) else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
