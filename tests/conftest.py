"""Settings of every test."""

from __future__ import annotations

import torch

# The tensors here are small: more threads cost more than they give.
torch.set_num_threads(1)
