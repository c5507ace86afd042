"""Folders in the diffusers layout: config.json beside a safetensors file.

Safetensors, the few lines of it that are needed: 8 bytes header length, a JSON header, then the tensors' bytes.
"""
import json
import struct

import numpy as np
import torch

TYPES = {'F32': np.float32, 'F16': np.float16, 'I64': np.int64}


def read(path):
    """-> {name: tensor}, half precision widened to float32."""
    with open(path, 'rb') as file:
        header = json.loads(file.read(struct.unpack('<Q', file.read(8))[0]))
        data, out = file.read(), {}
    for name, entry in header.items():
        if name != '__metadata__' and entry['dtype'] in TYPES:
            begin, end = entry['data_offsets']
            values = np.frombuffer(data[begin:end], TYPES[entry['dtype']]).copy().reshape(entry['shape'])
            values = torch.from_numpy(values)
            out[name] = values.float() if values.dtype == torch.float16 else values
    return out


def read_config(folder):
    with open(f'{folder}/config.json') as file:
        return json.load(file)


def load(module, folder, name):
    """Every name and shape must match, and no tensor may be left over."""
    tensors = read(f'{folder}/{name}.safetensors')
    tensors.pop('text_model.embeddings.position_ids', None)
    module.load_state_dict(tensors)
    return module.eval()


def write_half(path, tensors):
    """{name: tensor} -> float16, in order of name."""
    header, blobs, offset = {'__metadata__': {'format': 'pt'}}, [], 0
    for name in sorted(tensors):
        blob = tensors[name].detach().cpu().half().contiguous().numpy().tobytes()
        header[name] = dict(dtype='F16', shape=list(tensors[name].shape), data_offsets=[offset, offset + len(blob)])
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text + b''.join(blobs))
