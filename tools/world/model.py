"""Text encoders and UNet together: what stage 3 trains and the exporter writes."""
import torch
import torch.nn as nn

from clip import TextEncoder
from unet import UNet


class Model(nn.Module):
    def __init__(self, config, tokenizer):
        super().__init__()
        one, two = config['text'], config['text_2']
        self.tokenizer, size, side = tokenizer, len(tokenizer.vocabulary), config['pixels']
        self.register_buffer('sizes', torch.tensor([[side, side, 0.0, 0, side, side]]), persistent=False)
        self.text_encoder = TextEncoder(size, one['width'], one['layers'], one['heads'], 'quick_gelu')
        self.text_encoder_2 = TextEncoder(size, two['width'], two['layers'], two['heads'], 'gelu', two['pooled'])
        self.unet = UNet(**config['unet'], context=one['width'] + two['width'], pooled=two['pooled'],
                         channels=config['vae']['net']['latent_channels'])

    def ids(self, captions):
        """Sentences -> ids [n, 77] of either encoder: the second fills up with 0, which is "!"."""
        return tuple(torch.tensor([self.tokenizer(c, pad) for c in captions]) for pad in (self.tokenizer.end, 0))

    def encode(self, ids, ids_2):
        """-> text [n, 77, width 1 + width 2], pooled [n, p]."""
        text_2, pooled = self.text_encoder_2(ids_2)
        return torch.cat([self.text_encoder(ids)[0], text_2], -1), pooled

    def forward(self, x, t, text, pooled, consistency=None):
        """SDXL's size conditioning: original size, crop corner, target size; panels are never cropped."""
        return self.unet(x, t, text, pooled, self.sizes.expand(len(x), 6), consistency)
