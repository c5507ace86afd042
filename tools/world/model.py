"""Text encoders and UNet together: what stage 3 trains and the exporter writes."""
import torch
import torch.nn as nn

from clip import TextEncoder
from unet import UNet


class Model(nn.Module):
    def __init__(self, config, tokenizer):
        super().__init__()
        one, two = config['text'], config['text_2']
        self.tokenizer, size = tokenizer, len(tokenizer.vocabulary)
        self.text_encoder = TextEncoder(size, one['width'], one['layers'], one['heads'], 'quick_gelu')
        self.text_encoder_2 = TextEncoder(size, two['width'], two['layers'], two['heads'], 'gelu', two['pooled'])
        self.unet = UNet(**config['unet'], context=one['width'] + two['width'], pooled=two['pooled'],
                         channels=config['vae']['net']['latent_channels'])

    def encode(self, captions):
        """Sentences -> text [n, 77, width 1 + width 2], pooled [n, p]."""
        device = next(self.parameters()).device
        ids = torch.tensor([self.tokenizer(c, self.tokenizer.end) for c in captions], device=device)
        ids_2 = torch.tensor([self.tokenizer(c, 0) for c in captions], device=device)
        text_2, pooled = self.text_encoder_2(ids_2)
        return torch.cat([self.text_encoder(ids)[0], text_2], -1), pooled

    def forward(self, x, t, text, pooled, pixels, consistency=None):
        """SDXL's size conditioning: original size, crop corner, target size; panels are never cropped."""
        sizes = torch.tensor([[pixels, pixels, 0, 0, pixels, pixels]], dtype=torch.float32, device=x.device)
        return self.unet(x, t, text, pooled, sizes.expand(len(x), 6), consistency)
