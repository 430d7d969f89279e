"""Observation encoders, chosen by the space: what a network reads of an observation.

In trial batches an observation is one array: a Box or Discrete one as it is, any other as one flat Box of its leaves in
the order of `gymnasium.spaces.utils.flatten` (docs/adr/0010-spaces.md). `prepare` turns it into features without any
parameter: flat floats, discrete parts one-hot, images scaled. Where the space holds images, the encoder itself has
parameters: each image goes through convolutions, and what comes out stands behind the flat rest. Without images it is
the identity.

An image is a Box of type uint8 with two or three axes, or of floats within [0, 255] with three. Its channels are the
first axis if that is smaller than the last one, else the last one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple, flatdim
from torch import Tensor

from agents.contract import AgentError
from agents.functional.parameters import Parameters, part, whole

PART = "observation_encoder"  # before the names of an encoder's parameters, among those of a network
_CHUNK = 4096  # observations encoded at once where no gradient is kept
_NATURE_SIDE = 36  # pixels, from which on the large network fits
_ACTIVATIONS = 40  # that count as a step more: 800 images of 7x7 a chunk were twice as fast as 8,000
_POOLED = 2  # cells a side of what a linear baseline sees of an image


class Convolution(NamedTuple):
    """A convolution, followed by a rectified linear unit."""

    channels: int
    kernel: int
    stride: int
    padding: int

    def out(self, side: int) -> int:
        """Pixels a side of its output."""
        return (side + 2 * self.padding - self.kernel) // self.stride + 1


# Mnih et al. 2015 (Nature 518, 529-533), with half its dense layer.
NATURE = (Convolution(32, 8, 4, 0), Convolution(64, 4, 2, 0), Convolution(64, 3, 1, 0))


@dataclass(frozen=True)
class Image:
    """The network of one image: convolutions, then a dense layer, all rectified.

    Attributes:
        start: its first entry among the features.
        shape: as the space has it.
        channels_first: whether the first axis is that of channels.
        high: the largest value that the space allows.
        coded: whether its values are taken by their logarithm: see `scale`.
        layers: convolutions.
        features: that come out.
    """

    start: int
    shape: tuple[int, ...]
    channels_first: bool
    high: float
    coded: bool
    layers: tuple[Convolution, ...]
    features: int

    @classmethod
    def of(cls, space: Box, start: int) -> Image:
        """The network for images of this space: the Nature-CNN from 36 pixels a side on, blocks of 3x3 below."""
        first = len(space.shape) == 3 and space.shape[0] < space.shape[-1]
        height, width = space.shape[1:] if first else space.shape[:2]
        large, longest = min(height, width) >= _NATURE_SIDE, max(height, width)
        high, coded = float(space.high.max()) or 1.0, space.dtype == np.uint8 and not large
        if large:
            return cls(start, space.shape, first, high, coded, NATURE, 256)
        layers = [Convolution(32, 3, 1 if longest <= 16 else 2, 1)]
        while (longest := layers[-1].out(longest)) > 4:
            layers.append(Convolution(32, 3, 2, 1))
        return cls(start, space.shape, first, high, coded, tuple(layers), 64)

    @property
    def size(self) -> int:
        """Entries among the features."""
        return math.prod(self.shape)

    @property
    def entries(self) -> slice:
        """Of the features."""
        return slice(self.start, self.start + self.size)

    @property
    def channels(self) -> int:
        return 1 if len(self.shape) == 2 else self.shape[0 if self.channels_first else -1]

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width, pixels."""
        height, width = self.shape[1:] if self.channels_first else self.shape[:2]
        return height, width

    @property
    def activations(self) -> int:
        """Outputs of all convolutions, for one image."""
        count, (height, width) = 0, self.sides
        for layer in self.layers:
            height, width = layer.out(height), layer.out(width)
            count += layer.channels * height * width
        return count

    def scale(self, values: Tensor) -> Tensor:
        """Values as floats in [0, 1].

        The bytes of images below 36 pixels are as often codes as brightnesses (MiniGrid's are 0 to 10 in a space that
        says 255), so they are taken by their logarithm, which keeps small ones apart: log(1 + x) / log(1 + high).
        """
        return torch.log1p(values) / math.log1p(self.high) if self.coded else values / self.high

    def init(self, generator: torch.Generator) -> Parameters:
        """Fresh parameters: He-uniform weights, zero biases."""
        parameters, channels, sides = {}, self.channels, self.sides
        for number, layer in enumerate(self.layers):
            shape = (layer.channels, channels, layer.kernel, layer.kernel)
            parameters[f"kernel_{number}"] = _he(shape, channels * layer.kernel**2, generator)
            parameters[f"kernel_bias_{number}"] = torch.zeros(layer.channels)
            channels, sides = layer.channels, (layer.out(sides[0]), layer.out(sides[1]))
        entries = channels * sides[0] * sides[1]
        parameters["dense_weight"] = _he((entries, self.features), entries, generator)
        parameters["dense_bias"] = torch.zeros(1, self.features)
        return parameters

    def planes(self, flat: Tensor) -> Tensor:
        """Flat images [..., size] -> [n, channels, height, width]."""
        images = flat.reshape(-1, *self.shape)
        if images.ndim == 3:
            return images.unsqueeze(1)
        return images if self.channels_first else images.movedim(-1, 1)

    def __call__(self, parameters: Parameters, flat: Tensor) -> Tensor:
        """Flat images [..., size] -> [..., features]; parameters of B tasks at once take images [B, ..., size]."""
        if parameters["kernel_0"].ndim == 5:
            return torch.func.vmap(self.__call__)(parameters, flat)
        hidden = self.planes(flat)
        for number, layer in enumerate(self.layers):
            kernel, bias = parameters[f"kernel_{number}"], parameters[f"kernel_bias_{number}"]
            hidden = torch.relu(torch.nn.functional.conv2d(hidden, kernel, bias, layer.stride, layer.padding))
        outputs = torch.relu(hidden.flatten(1) @ parameters["dense_weight"] + parameters["dense_bias"])
        return outputs.reshape(*flat.shape[:-1], self.features)


def _he(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    return (torch.rand(shape, generator=generator) * 2 - 1) * math.sqrt(6.0 / fan_in)


@dataclass(frozen=True, eq=False)
class Encoder:
    """The features that a network reads of an observation. Shapes: O features, E entries of the encoded observation.

    Attributes:
        space: of observations, as the family declares it.
        input_size: O.
        images: networks of its image leaves, in their order.
        numbers: [O] bool, the features that are plain numbers, which may be normalised: no images, no one-hots.
    """

    space: gymnasium.Space
    input_size: int
    images: tuple[Image, ...]
    numbers: Tensor

    @property
    def size(self) -> int:
        """E: the entries of no image, and the features of each image."""
        return self.input_size + sum(image.features - image.size for image in self.images)

    @property
    def memory_factor(self) -> int:
        """How many plain steps one of these counts as, where tasks are differentiated in chunks of so many steps."""
        return 1 + sum(image.activations for image in self.images) // _ACTIVATIONS

    def init(self, generator: torch.Generator) -> Parameters:
        """Fresh parameters; {} without images."""
        return whole({f"image_{number}": image.init(generator) for number, image in enumerate(self.images)})

    def prepare(self, observation: np.ndarray) -> Tensor:
        """Stored observations [..., *shape] as float32 features [..., O]."""
        values = torch.as_tensor(observation)
        if isinstance(self.space, Discrete):
            return torch.nn.functional.one_hot(values.long() - int(self.space.start), self.input_size).float()
        values = values.float()
        if isinstance(self.space, Box) and len(self.space.shape) != 1:
            values = values.reshape(*values.shape[: values.ndim - len(self.space.shape)], self.input_size)
        if not self.images:
            return values
        parts, end = [], 0
        for image in self.images:
            parts += [values[..., end : image.start], image.scale(values[..., image.entries])]
            end = image.entries.stop
        return torch.cat([*parts, values[..., end:]], -1)

    def __call__(self, parameters: Mapping[str, Tensor], features: Tensor) -> Tensor:
        """Features [..., O] -> [..., E], given a network's parameters, the encoder's among them."""
        if not self.images:
            return features
        own = part(parameters, PART)
        if not torch.is_grad_enabled() and features.ndim == 3 and own["image_0/kernel_0"].ndim == 4:
            return torch.cat([self._encode(own, chunk) for chunk in features.split(self._rows(features))])
        return self._encode(own, features)

    def _rows(self, features: Tensor) -> int:
        """Of the first axis, as many as hold `_CHUNK` observations."""
        return max(1, _CHUNK // max(1, features.shape[1]))

    def _encode(self, parameters: Parameters, features: Tensor) -> Tensor:
        encoded = [
            image(part(parameters, f"image_{number}"), features[..., image.entries])
            for number, image in enumerate(self.images)
        ]
        return torch.cat([*self._rest(features), *encoded], -1)

    def pooled(self, features: Tensor) -> Tensor:
        """Features [..., O] with the mean of each quarter of each channel for images: few enough for a linear fit."""
        if not self.images:
            return features
        parts = self._rest(features)
        for image in self.images:
            cells = torch.nn.functional.adaptive_avg_pool2d(image.planes(features[..., image.entries]), _POOLED)
            parts.append(cells.reshape(*features.shape[:-1], -1))
        return torch.cat(parts, -1)

    def _rest(self, features: Tensor) -> list[Tensor]:
        """The features that belong to no image."""
        ends = [0, *(image.entries.stop for image in self.images)]
        starts = [*(image.start for image in self.images), self.input_size]
        return [features[..., end:start] for end, start in zip(ends, starts, strict=True) if start > end]


def make_encoder(space: gymnasium.Space) -> Encoder:
    """The encoder of an observation space; AgentError where a part of it has no fixed size."""
    images: list[Image] = []
    numbers: list[Tensor] = []
    start = 0
    for leaf in _leaves(space):
        size = flatdim(leaf)
        image = is_image(leaf)
        if image:
            assert isinstance(leaf, Box)
            images.append(Image.of(leaf, start))
        numbers.append(torch.full((size,), isinstance(leaf, Box) and not image))
        start += size
    if not start:
        raise AgentError(f"the observation space {space} is empty; declare at least one entry")
    return Encoder(space, start, tuple(images), torch.cat(numbers))


def is_image(space: gymnasium.Space) -> bool:
    """Whether observations of this space go through convolutions."""
    if not isinstance(space, Box) or min(space.shape, default=0) < 1:
        return False
    if space.dtype == np.uint8:
        return len(space.shape) in (2, 3)
    in_range = bool((space.low >= 0).all() and (space.high <= 255).all())
    return len(space.shape) == 3 and np.issubdtype(space.dtype, np.floating) and in_range


def _leaves(space: gymnasium.Space) -> list[gymnasium.Space]:
    """The parts of a space that are one array or number, in the order in which they are stored."""
    if isinstance(space, (Dict, Tuple)):
        parts = space.spaces.values() if isinstance(space, Dict) else space.spaces
        return [leaf for one in parts for leaf in _leaves(one)]
    if isinstance(space, (Box, Discrete, MultiDiscrete, MultiBinary)):
        return [space]
    raise AgentError(
        f"observations of a {type(space).__name__} space have no fixed size that a network could read; give Box, "
        "Discrete, MultiDiscrete or MultiBinary parts, in a Dict or Tuple if there are several"
    )
