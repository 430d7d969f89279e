import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from scipy import stats

from agents.common.meta_objective import MetaObjective, Steps
from agents.functional.parameters import flatten, unflatten
from agents.nets.encoders import NATURE, Image, is_image, make_encoder
from agents.nets.policies import ActionStd, MultiCategorical, make_policy
from agents.nets.statistics import RunningStatistics
from envs.spaces import ObservationReader
from tests.spaces import OBSERVATIONS, filled

BOX = Box(-1, 1, (3,))


def picture(*shape, high=255, dtype=np.uint8):
    return Box(0, high, shape, dtype)


@pytest.mark.parametrize(
    ("space", "channels", "sides", "nature"),
    [
        (picture(84, 84, 4), 4, (84, 84), True),
        (picture(4, 84, 84), 4, (84, 84), True),
        (picture(36, 36, 3), 3, (36, 36), True),
        (picture(35, 60, 3), 3, (35, 60), False),
        (picture(7, 7, 3), 3, (7, 7), False),
        (picture(3, 7, 7), 3, (7, 7), False),
        (picture(3, 3, 3), 3, (3, 3), False),  # as many of either: last
        (picture(64, 48), 1, (64, 48), True),  # grey
    ],
)
def test_images_are_read_whichever_way_their_axes_stand(space, channels, sides, nature):
    image = Image.of(space, 0)
    assert (image.channels, image.sides, image.layers is NATURE) == (channels, sides, nature)
    encoder = make_encoder(space)
    parameters = {f"observation_encoder/{k}": v for k, v in encoder.init(torch.Generator().manual_seed(0)).items()}
    observations = np.random.default_rng(0).integers(0, 256, (5, 2, *space.shape), np.uint8)
    encoded = encoder(parameters, encoder.prepare(observations))
    assert encoded.shape == (5, 2, encoder.size) == (5, 2, 256 if nature else 64)
    assert encoded.std(0).min() >= 0
    assert encoded.std() > 0


def test_the_same_picture_with_channels_first_or_last_is_encoded_alike():
    last, first = make_encoder(picture(7, 6, 3)), make_encoder(picture(3, 7, 6))
    parameters = {f"observation_encoder/{k}": v for k, v in last.init(torch.Generator().manual_seed(0)).items()}
    image = np.random.default_rng(0).integers(0, 256, (2, 7, 6, 3), np.uint8)
    turned = np.moveaxis(image, -1, 1)
    torch.testing.assert_close(last(parameters, last.prepare(image)), first(parameters, first.prepare(turned)))


def test_what_counts_as_an_image():
    assert is_image(picture(9, 9, 3))
    assert is_image(picture(9, 9))
    assert is_image(Box(0, 1, (9, 9, 3), np.float32))
    assert not is_image(Box(-1, 1, (9, 9, 3), np.float32))
    assert not is_image(picture(12))
    assert not is_image(Box(0, 1, (9, 9), np.float32))
    assert not is_image(Box(0, 255, (9, 9, 3), np.int64))
    assert not is_image(Discrete(4))


def test_bytes_are_scaled_by_the_largest_value_and_small_images_by_the_logarithm():
    # log(1 + 1) / log(1 + 255) = 1 / 8 and log(1 + 3) / log(256) = 2 / 8; 51 / 255 = 1 / 5 in a large one.
    small, large = make_encoder(picture(3, 4, 1)), make_encoder(picture(40, 40, 1))
    for encoder, value, expected in ((small, 1, 0.125), (small, 3, 0.25), (small, 255, 1.0), (large, 51, 0.2)):
        features = encoder.prepare(np.full((1, *encoder.space.shape), value, np.uint8))
        torch.testing.assert_close(features, torch.full_like(features, expected))
    low = make_encoder(picture(3, 4, 1, high=10))
    assert float(low.prepare(np.full((1, 3, 4, 1), 10, np.uint8)).max()) == pytest.approx(1.0)


@pytest.mark.parametrize("name", [name for name in OBSERVATIONS if not name.startswith("image") and name != "discrete"])
def test_without_images_an_encoder_is_gymnasiums_flattening_and_has_no_parameters(name):
    space = OBSERVATIONS[name]
    encoder, observation = make_encoder(space), filled(space, 0.3, 2)
    stored = ObservationReader(space).read(observation)
    features = encoder.prepare(stored[None] if np.ndim(stored) else np.array([stored]))
    flat = gymnasium.spaces.utils.flatten(
        space, np.asarray(observation, space.dtype) if isinstance(space, Box) else observation
    )
    if not isinstance(space, MultiDiscrete):  # Gymnasium's does not know `start`
        np.testing.assert_allclose(features[0], flat, rtol=1e-6)
    assert encoder.init(torch.Generator()) == {}
    assert encoder({}, features) is features
    assert encoder.input_size == encoder.size == len(features[0])


def test_normalisation_leaves_one_hots_and_images_alone():
    space = Dict(a=Discrete(2), b=Box(-9, 9, (2,)), c=picture(2, 3, 1), d=MultiBinary(1))
    encoder = make_encoder(space)
    assert encoder.numbers.tolist() == [False] * 2 + [True] * 2 + [False] * 7
    statistics = RunningStatistics(11, torch.device("cpu"), numbers=encoder.numbers)
    values = 5 + torch.randn(100, 11, generator=torch.Generator().manual_seed(0))
    statistics.update(values, 0)
    scaled = RunningStatistics.normalise(statistics.tensors, values)
    torch.testing.assert_close(scaled[:, ~encoder.numbers], values[:, ~encoder.numbers].clamp(-10, 10))
    torch.testing.assert_close(scaled[:, 2:4].mean(0), torch.zeros(2), atol=1e-5, rtol=0)


def test_a_linear_baseline_sees_an_image_by_quarters():
    encoder = make_encoder(Dict(camera=picture(4, 4, 1, high=1), place=BOX))
    image = np.zeros((1, 19), np.float32)
    image[0, :16] = np.kron([[1, 0], [0, 1]], np.ones((2, 2))).reshape(-1)
    image[0, 16:] = [5, 6, 7]
    assert encoder.pooled(encoder.prepare(image))[0].tolist() == pytest.approx([5, 6, 7, 1, 0, 0, 1])


def test_encoding_with_parameters_of_each_task_is_encoding_task_by_task():
    encoder = make_encoder(Dict(camera=picture(5, 5, 2), place=BOX))
    tasks = [encoder.init(torch.Generator().manual_seed(seed)) for seed in range(3)]
    features = torch.rand(3, 4, encoder.input_size, generator=torch.Generator().manual_seed(9))
    together = {f"observation_encoder/{key}": torch.stack([task[key] for task in tasks]) for key in tasks[0]}
    encoded = encoder(together, features)
    for position, task in enumerate(tasks):
        alone = encoder({f"observation_encoder/{key}": value for key, value in task.items()}, features[position])
        torch.testing.assert_close(encoded[position], alone)


@pytest.mark.parametrize("actions", [Box(-1, 1, (2,)), MultiDiscrete([2, 3])], ids=["gaussian", "multi_categorical"])
def test_the_meta_gradient_through_convolutions_is_that_of_finite_differences(actions):
    generator = torch.Generator().manual_seed(0)
    policy = make_policy(Dict(camera=picture(3, 3, 1), place=Box(-1, 1, (1,))), actions, (3,), "tanh", ActionStd(0.7))
    parameters = {
        name: (value if "encoder" in name else 0.5 * torch.randn(value.shape, generator=generator)).double()
        for name, value in policy.init(generator).items()
    }
    rounds = []
    for _ in range(2):
        features = torch.rand(2, 6, 10, generator=generator, dtype=torch.float64)
        noise = torch.as_tensor(policy.draw_noise(np.random.default_rng(1), (2, 6))).double()
        action, log_prob = policy.sample(policy.distribution(parameters, features), noise)
        advantage = torch.randn(2, 6, generator=generator, dtype=torch.float64)
        rounds.append(Steps(features, action, advantage, log_prob, torch.full((2, 6), 1 / 6, dtype=torch.float64)))
    objective = MetaObjective(policy, step_sizes=(0.3,), inner_objective="likelihood_ratio")
    old = objective.acting_distributions(parameters, rounds)
    gradient, _ = objective.meta_gradient(parameters, rounds, old)
    start, exact = flatten(parameters), flatten(gradient)
    convolutions = [name for name in parameters if "kernel_0" in name]
    assert convolutions
    assert all(gradient[name].abs().max() > 0 for name in convolutions)
    directions = torch.randn(8, len(start), generator=generator, dtype=torch.float64)
    for direction in directions:
        shift = 1e-6 * direction / direction.norm()
        forward, backward = (
            objective.loss_terms(unflatten(start + sign * shift, parameters), rounds, old).loss for sign in (1, -1)
        )
        slope = (forward - backward) / 2e-6
        assert float(exact @ direction / direction.norm()) == pytest.approx(slope, rel=1e-3, abs=1e-6)
    product = objective.fisher_product(parameters, rounds, damping=0.0)
    v, w = directions[:2]
    assert float(w @ product(v)) == pytest.approx(float(v @ product(w)), rel=1e-6)  # symmetric
    assert float(v @ product(v)) > 0


# -- independent choices


def choices(*logits):
    policy = MultiCategorical(BOX, MultiDiscrete([len(one) for one in logits], start=[1] * len(logits)), (), "tanh")
    return policy, policy.of_outputs({}, torch.tensor([[value for one in logits for value in one]]).log())


def test_independent_choices_multiply_their_probabilities_and_add_entropies():
    policy, distribution = choices([0.5, 0.5], [0.7, 0.2, 0.1])
    # Choices count from 1: the second of two and the third of three, 0.5 * 0.1.
    log_prob = policy.log_prob(distribution, torch.tensor([[2, 3]]))
    assert float(log_prob.exp()) == pytest.approx(0.05)
    expected = stats.entropy([0.5, 0.5]) + stats.entropy([0.7, 0.2, 0.1])
    assert float(policy.entropy(distribution)) == pytest.approx(expected, rel=1e-5)
    _, other = choices([0.25, 0.75], [0.1, 0.2, 0.7])
    divergence = stats.entropy([0.5, 0.5], [0.25, 0.75]) + stats.entropy([0.7, 0.2, 0.1], [0.1, 0.2, 0.7])
    assert float(policy.kl(distribution, other)) == pytest.approx(divergence, rel=1e-5)
    assert policy.one_hot(torch.tensor([[2, 3]])).tolist() == [[0, 1, 0, 0, 1]]
    assert policy.sample(distribution, None)[0].tolist() in ([[1, 1]], [[2, 1]])


def test_independent_choices_are_drawn_with_their_probabilities():
    policy, distribution = choices([0.5, 0.5], [0.7, 0.2, 0.1])
    draws = 20_000
    noise = torch.as_tensor(policy.draw_noise(np.random.default_rng(0), (draws,)))
    distribution = (distribution[0].expand(draws, 5),)
    action, log_prob = policy.sample(distribution, noise)
    torch.testing.assert_close(log_prob, policy.log_prob(distribution, action))
    for entry, wanted in enumerate(([0.5, 0.5], [0.7, 0.2, 0.1])):
        share = np.bincount(action[:, entry].numpy() - 1, minlength=len(wanted)) / draws
        assert np.abs(share - wanted).max() < 4 * np.sqrt(0.25 / draws)  # four standard errors
    assert abs(np.corrcoef(action.numpy().T)[0, 1]) < 4 / np.sqrt(draws)


def test_a_table_of_choices_keeps_its_shape():
    space = MultiDiscrete([[2, 3], [3, 2]])
    policy = make_policy(BOX, space, (), "tanh", ActionStd())
    distribution = policy.distribution(policy.init(torch.Generator().manual_seed(0)), torch.zeros(4, 3))
    action, log_prob = policy.sample(distribution, None)
    assert action.shape == (4, 2, 2)
    assert log_prob.shape == (4,)
    assert policy.one_hot(action).shape == (4, 10)
