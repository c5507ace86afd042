"""Safetensors, the few lines of it that are needed: 8 bytes header length, a JSON header, then the tensors' bytes."""
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


def write_half(path, tensors):
    """{name: tensor} -> float16, in order of name. Returns the number of bytes written."""
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
    return 8 + len(text) + offset
