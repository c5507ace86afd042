"""Checkpoints to an ordinary diffusers folder in half precision, which any SDXL program can load.

    python3 export.py configs/world.json RUN OUT

Takes the running averages of the weights, not the last ones. Latents were whitened inside the VAE (vae.whiten), so
its scaling_factor is 1.
"""
import json
import os
import random
import re
import sys

import torch

import weights
from attributes import OPEN
from captions import description, empty, happening
from diffusion import BETA_END, BETA_START, STEPS
from training import read_config
from model import Model
from tokenizer import END, LENGTH, START, world_tokenizer
from vae import VAE
from world import story

LARGEST = 14e6   # bytes of the whole folder


def put(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as file:
        json.dump(value, file, indent=2)
        file.write('\n')


def unet_config(config):
    u, levels = config['unet'], len(config['unet']['widths'])
    v = config['vae']['net']
    factor, channels = 2 ** (len(v['widths']) - 1), v['latent_channels']
    pooled = config['text_2']['pooled']
    attends = [depth > 0 for depth in u['transformers']]
    return dict(
        _class_name='UNet2DConditionModel', _diffusers_version='0.25.0', act_fn='silu',
        addition_embed_type='text_time', addition_time_embed_dim=u['size_width'],
        attention_head_dim=u['heads'],   # the number of heads, in spite of its name
        block_out_channels=u['widths'], center_input_sample=False,
        cross_attention_dim=config['text']['width'] + config['text_2']['width'],
        down_block_types=['CrossAttnDownBlock2D' if a else 'DownBlock2D' for a in attends], downsample_padding=1,
        flip_sin_to_cos=True, freq_shift=0, in_channels=channels, layers_per_block=u['layers'],
        mid_block_scale_factor=1, norm_eps=1e-5, norm_num_groups=u['groups'],
        out_channels=channels,
        projection_class_embeddings_input_dim=pooled + 6 * u['size_width'], sample_size=config['pixels'] // factor,
        transformer_layers_per_block=[max(1, u['transformers'][i]) for i in range(levels)],
        up_block_types=['CrossAttnUpBlock2D' if a else 'UpBlock2D' for a in reversed(attends)],
        use_linear_projection=True)


def vae_config(config):
    v = config['vae']['net']
    levels = len(v['widths'])
    return dict(
        _class_name='AutoencoderKL', _diffusers_version='0.25.0', act_fn='silu', block_out_channels=v['widths'],
        down_block_types=['DownEncoderBlock2D'] * levels, force_upcast=False, in_channels=3,
        latent_channels=v['latent_channels'], layers_per_block=v['layers'], norm_num_groups=v['groups'],
        out_channels=3, sample_size=config['pixels'], scaling_factor=1.0,
        up_block_types=['UpDecoderBlock2D'] * levels)


def text_config(part, tokenizer, architecture, activation, pad):
    return dict(
        architectures=[architecture], model_type='clip_text_model', bos_token_id=tokenizer.start,
        eos_token_id=tokenizer.end, pad_token_id=pad, hidden_act=activation, hidden_size=part['width'],
        intermediate_size=4 * part['width'], layer_norm_eps=1e-5, max_position_embeddings=LENGTH,
        num_attention_heads=part['heads'], num_hidden_layers=part['layers'],
        projection_dim=part.get('pooled', part['width']), torch_dtype='float16', vocab_size=len(tokenizer.vocabulary))


def put_tokenizer(folder, tokenizer, pad):
    special = dict(bos_token=START, eos_token=END, unk_token=END, pad_token=pad)
    put(f'{folder}/vocab.json', tokenizer.vocabulary)
    put(f'{folder}/special_tokens_map.json', special)
    put(f'{folder}/tokenizer_config.json', dict(special, add_prefix_space=False, do_lower_case=True, errors='replace',
                                                model_max_length=LENGTH, tokenizer_class='CLIPTokenizer'))
    with open(f'{folder}/merges.txt', 'w') as file:
        file.write('#version: 0.2\n' + ''.join(f'{a} {b}\n' for a, b in tokenizer.merges))


def known_words(config):
    """Every word of the captions that the model was trained on, but for the style templates' and articles."""
    rng, found = random.Random(config['seed']), set()
    for index in range(4000):
        for panel in story(config['seed'], index, config['world'], 2):
            said = [empty(rng, panel)] if panel['role'] == 'nobody' else [
                description(rng, panel, OPEN), happening(rng, panel)]
            found.update(re.findall('[a-z]+', ' '.join(said)))
    return sorted(found - {'a', 'an', 'and', 'at', 'by', 'in', 'on', 'the', 'with', 'for', 'up', 'down', 'of', 'under'})


def main(config_path, run, out):
    config = read_config(config_path)
    tokenizer = world_tokenizer(run, config['vocabulary_merges'], config['seed'])
    model, vae = Model(config, tokenizer), VAE(**config['vae']['net'])
    model.load_state_dict(torch.load(f'{run}/unet.pt', map_location='cpu'))
    vae.load_state_dict(torch.load(f'{run}/vae.pt', map_location='cpu'))

    put(f'{out}/unet/config.json', unet_config(config))
    put(f'{out}/vae/config.json', vae_config(config))
    put(f'{out}/text_encoder/config.json',
        text_config(config['text'], tokenizer, 'CLIPTextModel', 'quick_gelu', tokenizer.end))
    put(f'{out}/text_encoder_2/config.json',
        text_config(config['text_2'], tokenizer, 'CLIPTextModelWithProjection', 'gelu', 0))
    put_tokenizer(f'{out}/tokenizer', tokenizer, END)
    put_tokenizer(f'{out}/tokenizer_2', tokenizer, '!')
    put(f'{out}/scheduler/scheduler_config.json', dict(
        _class_name='LCMScheduler', _diffusers_version='0.25.0', beta_start=BETA_START, beta_end=BETA_END,
        beta_schedule='scaled_linear', clip_sample=False, num_train_timesteps=STEPS, original_inference_steps=STEPS,
        prediction_type='v_prediction', rescale_betas_zero_snr=False, set_alpha_to_one=True, steps_offset=0,
        timestep_scaling=10.0, timestep_spacing='trailing'))
    put(f'{out}/model_index.json', dict(
        _class_name='StableDiffusionXLPipeline', _diffusers_version='0.25.0', force_zeros_for_empty_prompt=True,
        scheduler=['diffusers', 'LCMScheduler'], text_encoder=['transformers', 'CLIPTextModel'],
        text_encoder_2=['transformers', 'CLIPTextModelWithProjection'], tokenizer=['transformers', 'CLIPTokenizer'],
        tokenizer_2=['transformers', 'CLIPTokenizer'], unet=['diffusers', 'UNet2DConditionModel'],
        vae=['diffusers', 'AutoencoderKL'], _storydiff=dict(config['hints'], words=known_words(config))))
    for folder, part, name in (('unet', model.unet, 'diffusion_pytorch_model'),
                               ('vae', vae, 'diffusion_pytorch_model'),
                               ('text_encoder', model.text_encoder, 'model'),
                               ('text_encoder_2', model.text_encoder_2, 'model')):
        weights.write_half(f'{out}/{folder}/{name}.fp16.safetensors', part.state_dict())

    size = sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(out) for name in names)
    print(f'{out}: {size / 1e6:.2f} MB')
    return 0 if size <= LARGEST else f'larger than {LARGEST / 1e6:.0f} MB'


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
