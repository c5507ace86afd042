"""What every stage of training shares: a step as one CUDA graph, a schedule by the clock, an average of the weights.

A GPU is had for minutes, so a stage is told its seconds, and its learning rate falls by the share of them that is gone:
half a cosine. On a GPU the whole step (forward, backward, clipping, AdamW, average) is compiled, captured once and
replayed, since networks as small as these are otherwise slowed by the launching of kernels; on a CPU the same function
simply runs.
"""
import json
import math
import os
import sys
import time
import traceback

import torch

DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
CUDA = DEVICE.type == 'cuda'


def read_config(path):
    with open(path) as file:
        return json.load(file)


def compiled(function):
    """On a GPU, as few kernels as can be; where the compiler fails, the function as it is."""
    if not CUDA:
        return function
    fast, failed = torch.compile(function, dynamic=False), []

    def call(*arguments):
        if not failed:
            try:
                return fast(*arguments)
            except Exception:
                traceback.print_exc()
                failed.append(True)
        return function(*arguments)
    return call


class Training:
    """
    module    whose parameters are trained, those that want gradients
    losses    (batch {name: tensor}) -> what to minimise, {name: scalar to report}; its parts may be compiled()
    average   decay of the running average of the weights, which is what comes out
    """

    def __init__(self, name, module, losses, rate, average=.999, warmup=.01):
        self.name, self.module, self.losses = name, module, losses
        self.rate, self.warmup, self.decay = rate, warmup, average
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        lr = torch.tensor(rate, device=DEVICE) if CUDA else rate
        more = dict(fused=True, capturable=True) if CUDA else {}
        self.optimiser = torch.optim.AdamW(self.parameters, lr=lr, betas=(.9, .99), weight_decay=.01, **more)
        self.average = [p.detach().clone() for p in self.parameters]
        self.inputs, self.graph, self.sums, self.names = None, None, None, None

    def _body(self):
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=CUDA):
            loss, report = self.losses(self.inputs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_mul_(self.average, self.decay)
            torch._foreach_add_(self.average, self.parameters, alpha=1 - self.decay)
            values = torch.stack([v.detach().float() for v in (loss, *report.values())])
        if self.sums is None:
            self.sums, self.names = torch.zeros_like(values), ['loss', *report]
        self.sums += values

    def _capture(self):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._body()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode='thread_local'):
            self._body()

    def prepare(self, batch):
        """Compiles and captures the step, which takes a while: three steps that change nothing to speak of."""
        begun = time.time()
        self._set_rate(1e-9)
        self.inputs = {k: v.to(DEVICE).clone() for k, v in batch.items()}
        if CUDA:
            try:
                self._capture()
            except Exception:   # once more, uncompiled; then also uncaptured
                traceback.print_exc()
                torch.compiler.set_stance('force_eager')
                self.optimiser.zero_grad(set_to_none=True)
                try:
                    self._capture()
                except Exception:
                    traceback.print_exc()
                    self.graph = None
        else:
            self._body()
        self.sums.zero_()
        print(f'{self.name}: prepared in {time.time() - begun:.0f} s', flush=True)

    def _set_rate(self, rate):
        for group in self.optimiser.param_groups:
            group['lr'].fill_(rate) if CUDA else group.update(lr=rate)

    def _step(self, batch):
        for name, value in batch.items():
            self.inputs[name].copy_(value)
        self.graph.replay() if self.graph else self._body()

    def averaged(self):
        """The weights, averaged, in half precision: what comes out, and what a later run can go on from."""
        state, averages = self.module.state_dict(), iter(self.average)
        state.update((name, next(averages)) for name, p in self.module.named_parameters() if p.requires_grad)
        return {name: value.detach().half().cpu().contiguous() for name, value in state.items()}

    def run(self, batches, deadline, between=lambda: None, every=10):
        """Trains on batches() until the time `deadline`; -> the learning curve. The weights are the average then."""
        if self.inputs is None:
            self.prepare(batches())
        begun = last = time.time()
        seconds = max(1e-3, deadline - begun)
        step = counted = 0
        averaging, curve = False, []
        while True:
            now = time.time()
            share = (now - begun) / seconds
            if share >= 1:
                break
            lr = self.rate * min(1, (share + 1e-4) / self.warmup) * .5 * (1 + math.cos(math.pi * share)) + 1e-7
            self._set_rate(lr)
            if not averaging and share > .1:   # the average begins where the start is forgotten
                averaging = True
                for value, parameter in zip(self.average, self.parameters):
                    value.copy_(parameter.detach())
            self._step(batches())
            between()
            step, counted = step + 1, counted + 1
            if now - last > every:
                row = dict(step=step, seconds=round(now - begun), **{
                    k: round(v / counted, 5) for k, v in zip(self.names, self.sums.tolist())})
                print(self.name, row, flush=True)
                curve.append(row)
                self.sums.zero_()
                last, counted = now, 0
                if not math.isfinite(row['loss']):
                    sys.exit(f'{self.name}: the loss is not finite')
        with torch.no_grad():
            for parameter, value in zip(self.parameters, self.average):
                parameter.copy_(value)
        print(f'{self.name}: {step} steps in {time.time() - begun:.0f} s', flush=True)
        return curve


def save(path, state):
    """Whole or not at all."""
    torch.save(state, path + '.new')
    os.replace(path + '.new', path)


def write_curve(path, curve):
    with open(path, 'w') as file:
        file.write('\t'.join(curve[0]) + '\n' if curve else '')
        file.writelines('\t'.join(str(v) for v in row.values()) + '\n' for row in curve)
