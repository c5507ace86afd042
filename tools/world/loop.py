"""What every training stage shares: parallel gradients, a schedule by steps, an average of the weights, checkpoints.

A stage is a function of its step number alone: data, noise and learning rate of step k come from (seed, k), never
from a clock. A run that was killed and continued therefore sees what an unbroken one would have seen. SIGTERM saves
and ends; SIGSTOP and SIGCONT pause and go on.
"""
import json
import math
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import torch

DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def read_config(path):
    with open(path) as file:
        return json.load(file)


class Parallel:
    """Gradients of a batch in nearly equal parts, one thread each.

    Two threads with half a batch each are half as fast again as one batch on two threads: at these sizes an operation
    is too short to be split. `torch.autograd.grad` keeps the parts' gradients apart; they are averaged here.
    """

    def __init__(self, workers):
        torch.set_num_threads(1)
        self.workers = workers
        self.pool = ThreadPoolExecutor(workers)

    def gradients(self, parameters, losses, parts):
        """losses(part) -> (scalar to minimise, dict of tensors to report). Fills .grad, returns the reports."""
        def one(part):
            loss, report = losses(part)
            return torch.autograd.grad(loss, parameters, allow_unused=True), report
        results = list(self.pool.map(one, parts))
        for i, parameter in enumerate(parameters):
            found = [grads[i] for grads, _ in results if grads[i] is not None]
            parameter.grad = sum(found) / len(results) if found else None
        return [report for _, report in results]


class Loop:
    """for step in loop: ... ; loop.update(...)   with everything that must survive a restart."""

    def __init__(self, path, module, steps, rate, average, warmup=100, save_every=100):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.path, self.module, self.steps, self.rate, self.warmup = path, module, steps, rate, warmup
        self.average_decay, self.save_every = average, save_every
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=rate, betas=(.9, .99), weight_decay=.01)
        self.average = {k: v.clone() for k, v in module.state_dict().items()}
        self.step, self.stopping, self.curve, self.seconds = 0, False, [], 0.0
        if os.path.exists(path):
            self._load()
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_):
        self.stopping = True

    def _load(self):
        saved = torch.load(self.path, map_location=DEVICE)
        self.module.load_state_dict(saved['weights'])
        self.average = saved['average']
        self.optimiser.load_state_dict(saved['optimiser'])
        self.step, self.curve, self.seconds = saved['step'], saved['curve'], saved['seconds']

    def save(self):
        state = dict(weights=self.module.state_dict(), average=self.average, optimiser=self.optimiser.state_dict(),
                     step=self.step, curve=self.curve, seconds=self.seconds)
        torch.save(state, self.path + '.new')
        os.replace(self.path + '.new', self.path)

    def learning_rate(self):
        """A linear start, then half a cosine down to a fiftieth."""
        cosine = .5 * (1 + math.cos(math.pi * min(1, self.step / self.steps)))
        return self.rate * min(1, (self.step + 1) / self.warmup) * max(.02, cosine)

    def __iter__(self):
        begun = time.time()
        while self.step < self.steps and not self.stopping:
            yield self.step
            self.seconds += time.time() - begun
            begun = time.time()
            self.step += 1
            if self.step % self.save_every == 0:
                self.save()
        self.save()

    def update(self):
        """One step of AdamW with the gradients that are there, and of the running average."""
        for group in self.optimiser.param_groups:
            group['lr'] = self.learning_rate()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        decay = min(self.average_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.module.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)

    def log(self, **values):
        """A line of the learning curve: on the terminal, in the checkpoint, and as text beside it."""
        values = {name: round(float(value), 4) for name, value in values.items()}
        row = dict(step=self.step + 1, seconds=round(self.seconds), **values)
        self.curve.append(row)
        print('  '.join(f'{k} {v}' for k, v in row.items()), flush=True)
        with open(os.path.splitext(self.path)[0] + '.curve.txt', 'w') as file:
            file.write('\t'.join(row) + '\n')
            file.writelines('\t'.join(str(v) for v in old.values()) + '\n' for old in self.curve)
