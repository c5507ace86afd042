"""The way back from export.py: from a model folder to what training goes on from, where the checkpoints are lost.

    python3 restore.py configs/fine.json ../../storydiff/models/world RUN

Writes RUN/merges.json, RUN/vae-white.pt and RUN/start.pt. Then encode.py, and train_unet.py with RUN/start.pt as its
third argument. What is lost is half of the precision and the optimiser's memory.
"""
import json
import os
import sys

import torch

import weights
from loop import read_config
from model import Model
from tokenizer import world_tokenizer
from vae import read_vae


def main(config_path, folder, run):
    config = read_config(config_path)
    os.makedirs(run, exist_ok=True)
    with open(f'{folder}/tokenizer/merges.txt') as source, open(f'{run}/merges.json', 'w') as file:
        json.dump([line.split() for line in source.read().splitlines()[1:]], file)
    torch.save(read_vae(f'{folder}/vae', 'diffusion_pytorch_model.fp16').state_dict(), f'{run}/vae-white.pt')
    model = Model(config, world_tokenizer(run, config['vocabulary_merges'], config['seed']))
    for part, name in (('unet', 'diffusion_pytorch_model'), ('text_encoder', 'model'), ('text_encoder_2', 'model')):
        weights.load(getattr(model, part), f'{folder}/{part}', f'{name}.fp16')
    torch.save(dict(average=model.state_dict()), f'{run}/start.pt')


if __name__ == '__main__':
    main(*sys.argv[1:])
