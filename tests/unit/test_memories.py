"""Memories: the fast code against a slow twin, step by step against whole sequences, and what each promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from agents.contract import AgentError
from agents.nets.external import ExternalConfig
from agents.nets.memories import chrono_bias
from agents.nets.memory_kinds import MemoryConfig, make_memory
from tests.oracles.memories import SLOW

STEPS, ROWS, INPUTS = 9, 3, 5
EXACT = {"rtol": 1e-10, "atol": 1e-11}

# Sizes that differ from one another, so that a mistaken axis cannot fit by chance.
KINDS = {
    "gru": {"name": "gru", "size": 7},
    "gru of long memory": {"name": "gru", "size": 6, "chrono_steps": 40},
    "lstm": {"name": "lstm", "size": 7},
    "lstm of long memory": {"name": "lstm", "size": 6, "chrono_steps": 40},
    "transformer": {"name": "transformer", "size": 12, "layers": 2, "heads": 3},
    "transformer of one layer": {"name": "transformer", "size": 10, "layers": 1, "heads": 1},
    "snail": {"name": "snail", "filters": 3, "key_size": 4, "value_size": 6},
    "external": {"name": "external", "size": 8, "slots": 4, "width": 3},
    "external with two heads": {"name": "external", "size": 7, "slots": 5, "width": 3, "read_heads": 2},
}
kinds = pytest.mark.parametrize("kind", KINDS)
attentive = pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith(("gru", "lstm"))])


def validate(settings):
    return TypeAdapter(MemoryConfig).validate_python(settings)


def noise(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def build(config, inputs, steps, seed):
    """A memory and float64 parameters, none of them left at a special value."""
    memory = make_memory(config, inputs, steps)
    generator = torch.Generator().manual_seed(seed)
    fresh = memory.init(generator)
    return memory, {name: value.double() + 0.2 * noise(generator, *value.shape) for name, value in fresh.items()}


def example(kind):
    """The memory of `KINDS`, its parameters and inputs [STEPS, ROWS, INPUTS]."""
    memory, parameters = build(validate(KINDS[kind]), INPUTS, STEPS, seed=0)
    return memory, parameters, noise(torch.Generator().manual_seed(1), STEPS, ROWS, INPUTS)


def walk(memory, parameters, inputs, state):
    """Outputs [L, B, H] and the states after each step, one step at a time."""
    outputs, states = [], []
    for one in inputs:
        output, state = memory.step(parameters, one, state)
        outputs.append(output)
        states.append(state)
    return torch.stack(outputs), states


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], **EXACT)


def draw_config(name, rng):
    """A configuration of this kind, its sizes drawn."""

    def draw(low, high):
        return int(rng.integers(low, high + 1))

    heads = draw(1, 3)
    sizes = {
        "gru": {"size": draw(1, 9)},
        "lstm": {"size": draw(1, 9)},
        "transformer": {"size": 2 * heads * draw(1, 3), "heads": heads, "layers": draw(1, 3)},
        "snail": {"filters": draw(1, 4), "key_size": draw(1, 5), "value_size": draw(1, 5)},
        # Slots of one entry are all alike or all opposite to a key: rounding would choose among them.
        "external": {"size": draw(2, 8), "slots": heads + draw(0, 4), "width": draw(2, 5), "read_heads": heads},
    }
    return validate({"name": name, **sizes[name]})


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", SLOW)
def test_a_sequence_is_its_steps_and_both_are_the_slow_twin(name, seed):
    rng = np.random.default_rng(seed)
    config = draw_config(name, rng)
    steps, rows, inputs_size = (int(rng.integers(low, high)) for low, high in ((1, 11), (1, 4), (1, 7)))
    memory, parameters = build(config, inputs_size, steps, seed)
    inputs = torch.as_tensor(rng.normal(size=(steps, rows, inputs_size)))
    outputs, after = memory.sequence(parameters, inputs, memory.initial_state(parameters, rows))
    stepped, states = walk(memory, parameters, inputs, memory.initial_state(parameters, rows))
    assert outputs.shape == (steps, rows, memory.output_size)
    torch.testing.assert_close(outputs, stepped, **EXACT)
    assert_same(after, states[-1])
    arrays = {key: value.numpy() for key, value in parameters.items()}
    for row in range(rows):
        for step in range(steps):
            expected, attention = SLOW[name](arrays, config, inputs[: step + 1, row].numpy())
            np.testing.assert_allclose(outputs[step, row], expected, **EXACT)
            shown = memory.attention(states[step])
            assert shown.keys() == attention.keys()
            for place, weights in attention.items():
                np.testing.assert_allclose(shown[place][row], weights, **EXACT)


@kinds
@pytest.mark.parametrize("cut", [1, 4, 8])
def test_a_trial_may_go_on_from_its_middle(kind, cut):
    memory, parameters, inputs = example(kind)
    start = memory.initial_state(parameters, ROWS)
    whole, last = memory.sequence(parameters, inputs, start)
    first, middle = memory.sequence(parameters, inputs[:cut], start)
    second, after = memory.sequence(parameters, inputs[cut:], middle)
    stepped, states = walk(memory, parameters, inputs[cut:], middle)
    torch.testing.assert_close(torch.cat([first, second]), whole, **EXACT)
    torch.testing.assert_close(stepped, whole[cut:], **EXACT)
    assert_same(after, last)
    assert_same(states[-1], last)


@kinds
def test_outputs_do_not_know_what_comes_later(kind):
    memory, parameters, inputs = example(kind)
    start = memory.initial_state(parameters, ROWS)
    before, _ = memory.sequence(parameters, inputs, start)
    for step in range(STEPS):
        changed = inputs.clone()
        changed[step] += 1.0
        after, _ = memory.sequence(parameters, changed, start)
        torch.testing.assert_close(after[:step], before[:step], **EXACT)
        difference = (after - before).abs().amax((1, 2))
        assert (difference[step:] > 1e-6).all(), "a step was forgotten"


@kinds
def test_rows_are_independent(kind):
    memory, parameters, inputs = example(kind)
    order = torch.tensor([2, 0, 1])
    outputs, state = memory.sequence(parameters, inputs, memory.initial_state(parameters, ROWS))
    shuffled, after = memory.sequence(parameters, inputs[:, order], memory.initial_state(parameters, ROWS))
    torch.testing.assert_close(shuffled, outputs[:, order], **EXACT)
    assert_same(after, {name: value[order] for name, value in state.items()})
    alone, _ = memory.sequence(parameters, inputs[:, 1:2], memory.initial_state(parameters, 1))
    torch.testing.assert_close(alone, outputs[:, 1:2], **EXACT)


@kinds
def test_nothing_is_changed_in_place(kind):
    memory, parameters, inputs = example(kind)
    _, state = memory.sequence(parameters, inputs, memory.initial_state(parameters, ROWS))
    given = {"inputs": inputs, **parameters, **{f"state/{name}": value for name, value in state.items()}}
    kept = {name: value.clone() for name, value in given.items()}
    memory.step(parameters, inputs[0], state)
    memory.sequence(parameters, inputs, state)
    assert all(torch.equal(given[name], kept[name]) for name in given)


@kinds
def test_the_last_output_teaches_every_parameter_from_the_first(kind):
    memory, _, inputs = example(kind)
    generator = torch.Generator().manual_seed(9)
    learned = {name: value.double().requires_grad_() for name, value in memory.init(generator).items()}
    start = memory.initial_state(learned, ROWS)
    for outputs in (memory.sequence(learned, inputs, start)[0], walk(memory, learned, inputs, start)[0]):
        weight = noise(generator, *outputs[-1].shape)
        gradients = torch.autograd.grad((outputs[-1] * weight).sum(), list(learned.values()))
        for name, gradient in zip(learned, gradients, strict=True):
            assert torch.isfinite(gradient).all(), name
            assert (gradient.abs() > 1e-12).any(), name


@kinds
def test_gradients_are_those_of_finite_differences(kind):
    memory, parameters, inputs = example(kind)
    learned = {name: value.requires_grad_() for name, value in parameters.items()}
    generator = torch.Generator().manual_seed(3)
    direction = {name: noise(generator, *value.shape) for name, value in parameters.items()}

    def loss(moved):
        outputs, _ = memory.sequence(moved, inputs, memory.initial_state(moved, ROWS))
        return outputs.square().sum()

    gradients = torch.autograd.grad(loss(learned), list(learned.values()))
    slope = sum(float((one * direction[name]).sum()) for name, one in zip(learned, gradients, strict=True))
    with torch.no_grad():
        ends = [
            loss({name: value + size * direction[name] for name, value in parameters.items()}) for size in (1e-6, -1e-6)
        ]
    assert slope == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=1e-6)


@kinds
def test_parameters_come_from_the_generator_alone(kind):
    memory = make_memory(validate(KINDS[kind]), INPUTS, STEPS)
    torch.manual_seed(1)
    first = memory.init(torch.Generator().manual_seed(5))
    torch.manual_seed(2)
    second = memory.init(torch.Generator().manual_seed(5))
    other = memory.init(torch.Generator().manual_seed(6))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert all(value.dtype == torch.float32 for value in first.values())


@attentive
def test_attention_is_a_distribution_over_what_there_is(kind):
    memory, parameters, inputs = example(kind)
    config = validate(KINDS[kind])
    for value in parameters.values():
        value.requires_grad_()
    state = memory.initial_state(parameters, ROWS)
    heads = {"transformer": "heads", "external": "read_heads"}.get(config.name)
    for step, one in enumerate(inputs, 1):
        _, state = memory.step(parameters, one, state)
        places = config.slots if config.name == "external" else step
        for name, weights in memory.attention(state).items():
            assert weights.shape == (ROWS, getattr(config, heads) if heads else 1, places), name
            torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
            assert not weights.requires_grad, "who looks on learns nothing"


def test_recurrent_memories_show_no_attention():
    memory, parameters, _ = example("gru")
    assert memory.attention(memory.initial_state(parameters, ROWS)) == {}


def test_whole_trials_are_not_cut_where_memory_attends_to_them():
    cuts = {kind: example(kind)[0].can_truncate for kind in ("gru", "lstm", "external", "transformer", "snail")}
    assert cuts == {"gru": True, "lstm": True, "external": True, "transformer": False, "snail": False}


@pytest.mark.parametrize(("steps", "convolutions"), [(1, 1), (2, 1), (3, 2), (8, 3), (9, 4), (200, 8)])
def test_snails_convolutions_reach_over_the_trial_and_no_further_than_needed(steps, convolutions):
    # n kernels of two steps, 1, 2, ... 2^(n-1) apart, see 2^n steps: the least n with 2^n >= steps, but one at least.
    memory = make_memory(validate(KINDS["snail"]), INPUTS, steps)
    assert memory.output_size == INPUTS + 3 * 6 + 2 * convolutions * 3  # three attention blocks, two of convolutions
    parameters = memory.init(torch.Generator().manual_seed(0))
    names = {name for name in parameters if name.startswith("layer_3/") and name.endswith("now_weight")}
    assert names == {f"layer_3/{2**power}_now_weight" for power in range(convolutions)}


def test_a_written_slot_is_found_again_by_what_was_written():
    """By hand: the gate shut (every write goes to the least-used slot) and slots enough for the trial."""
    memory, parameters, inputs = example("external")
    parameters["gate_weight"] = torch.zeros_like(parameters["gate_weight"])
    parameters["gate_bias"] = torch.full_like(parameters["gate_bias"], -50.0)
    state = memory.initial_state(parameters, ROWS)
    written = []
    for one in inputs[:3]:
        _, state = memory.step(parameters, one, state)
        hidden = state["hidden"]
        written.append(torch.tanh(hidden @ parameters["key_weight"].T + parameters["key_bias"]))
    # Three of four slots hold the three keys, in the order of writing; the fourth is empty.
    torch.testing.assert_close(state["slots"][:, :3], torch.stack(written, 1))
    assert state["slots"][:, 3].abs().max() < 1e-12
    # The last key is most like itself: no slot is read more.
    assert (state["weights"][:, 0].argmax(-1) == 2).all()
    # What is read is what the weights say of the slots.
    torch.testing.assert_close(state["reads"], state["weights"] @ state["slots"])


def test_the_least_used_slot_is_the_one_given_up():
    """By hand: all slots hold ones, the second is used least, and nothing was read that could be written to."""
    memory, parameters, inputs = example("external")
    _, state = memory.sequence(parameters, inputs, memory.initial_state(parameters, ROWS))
    usage = torch.tensor([0.9, 0.2, 0.7, 1.5], dtype=torch.float64).expand(ROWS, 4)
    full = torch.ones_like(state["slots"])
    _, after = memory.step(
        parameters, inputs[0], state | {"usage": usage, "slots": full, "weights": 0 * state["weights"]}
    )
    kept = [slot for slot in range(4) if torch.equal(after["slots"][:, slot], full[:, slot])]
    assert kept == [0, 2, 3]
    # Nothing is left of the ones of slot 1: it is (1 - gate) times a key, whose entries are below 1.
    assert (after["slots"][:, 1].abs() < 1.0).all()
    # Usage fades by 0.95 a step, and grows by what is read and written.
    reading = after["weights"][:, 0]
    torch.testing.assert_close(after["usage"][:, kept], 0.95 * usage[:, kept] + reading[:, kept])


def test_chrono_biases_are_log_uniform_waits():
    # u = exp(bias) ~ U[1, T - 1]: mean T / 2, deviation (T - 2) / sqrt(12).
    steps, draws = 100, 4000
    waits = chrono_bias(draws, steps, torch.Generator().manual_seed(0)).double().exp()
    assert waits.min() >= 1 - 1e-6
    assert waits.max() <= steps - 1 + 1e-3
    error = (steps - 2) / math.sqrt(12 * draws)  # standard error of the mean
    assert abs(float(waits.mean()) - steps / 2) < 4 * error
    assert float(waits.std()) == pytest.approx((steps - 2) / math.sqrt(12), rel=0.05)
    assert chrono_bias(3, 1, torch.Generator()).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", ["gru of long memory", "lstm of long memory"])
def test_a_unit_of_bias_log_u_forgets_within_one_plus_u_steps(kind):
    # The keeping gate alone: sigmoid(log u) = u / (1 + u), so after n silent steps (u / (1 + u))^n is left.
    memory = make_memory(validate(KINDS[kind]), INPUTS, STEPS)
    parameters = memory.init(torch.Generator().manual_seed(0))
    parameters["hidden_weight"] = torch.zeros_like(parameters["hidden_weight"])
    size = memory.output_size
    state = {name: torch.ones(1, size) for name in memory.initial_state(parameters, 1)}
    kept = "hidden" if validate(KINDS[kind]).name == "gru" else "cell"
    wait = parameters["input_bias"][size : 2 * size].exp()
    assert wait.max() > 5
    for step in range(1, 41):
        _, state = memory.step(parameters, torch.zeros(1, INPUTS), state)
        torch.testing.assert_close(state[kept][0], (wait / (1 + wait)) ** step)
    if kept == "cell":  # and what is kept long is written slowly: the input gate is the forget gate's opposite
        torch.testing.assert_close(parameters["input_bias"][:size], -wait.log())


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"name": "transformer", "size": 10, "heads": 4}, "size 10 is not divisible by 4 heads"),
        ({"name": "transformer", "size": 9, "heads": 3}, "make its size 9 even"),
        ({"name": "external", "slots": 2, "read_heads": 3}, "3 read_heads"),
        ({"name": "external", "usage_decay": 1.5}, "usage_decay"),
        ({"name": "snail", "filters": 0}, "filters"),
        ({"name": "gru", "layers": 2}, "layers"),
        ({"name": "hopfield"}, "transformer"),
    ],
)
def test_a_wrong_configuration_is_told_in_a_sentence(wrong, sentence):
    with pytest.raises(ValidationError, match=sentence):
        validate(wrong)


def test_a_memory_of_no_trial_is_refused():
    with pytest.raises(AgentError, match="0 steps"):
        make_memory(ExternalConfig(), INPUTS, 0)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_torchs_recurrent_kernels_are_called_so_that_cudnn_can_learn(kind, monkeypatch):
    """On a GPU: `train` on, or cuDNN refuses the backward pass, and weights in one block of memory."""
    memory, parameters, inputs = example(kind)
    calls = []
    real = getattr(torch, kind)
    monkeypatch.setattr(torch, kind, lambda *arguments: (calls.append(arguments), real(*arguments))[1])
    parameters = {name: value.to("meta").requires_grad_() for name, value in parameters.items()}
    inputs = inputs.to("meta")
    outputs, _ = memory.sequence(parameters, inputs, memory.initial_state(parameters, inputs.shape[1]))
    assert outputs.shape == (*inputs.shape[:2], memory.output_size)
    ((_, _, weights, has_biases, layers, dropout, train, bidirectional, batch_first),) = calls
    assert (has_biases, layers, dropout, train, bidirectional, batch_first) == (True, 1, 0.0, True, False, False)
    places = [0, *np.cumsum([weight.numel() for weight in weights])[:-1]]
    assert [weight.storage_offset() for weight in weights] == places
    assert all(weight._base is weights[0]._base and weight.is_contiguous() for weight in weights)
    assert all(weight.requires_grad for weight in weights)
