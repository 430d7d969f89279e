"""The units that a policy acts in: half the range of a bounded action space, from its middle."""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from torch import Tensor


def unit_range(space: gymnasium.spaces.Box) -> tuple[Tensor, Tensor] | None:
    """Middle and half the range of each action entry [A]; 0 and 1 where it is unbounded; None if all are [-1, 1]."""
    low, high = space.low.reshape(-1).astype(np.float64), space.high.reshape(-1).astype(np.float64)
    bounded = np.isfinite(low) & np.isfinite(high) & (high > low)
    middle, half = np.zeros_like(low), np.ones_like(low)
    middle[bounded], half[bounded] = (low + high)[bounded] / 2, (high - low)[bounded] / 2
    if not middle.any() and (half == 1).all():
        return None  # nothing to compute
    return torch.as_tensor(middle).float(), torch.as_tensor(half).float()
