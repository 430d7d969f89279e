"""Memories of one row, each output from the whole of what came before it, in NumPy: no cache, no batch, no state.

    output [H], attention = SLOW[kind](parameters, configuration, inputs [t, I])

`inputs` are the steps from the trial's start to the one whose output is asked; `attention` is what that step looked at,
by name. Parameters are the fast code's, by the same names.
"""

import math

import numpy as np


def sigmoid(value):
    return 1.0 / (1.0 + np.exp(-value))


def softmax(values):
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def gru(p, config, inputs):
    size, hidden = config.size, np.zeros(config.size)
    for x in inputs:
        from_input = p["input_weight"] @ x + p["input_bias"]
        from_hidden = p["hidden_weight"] @ hidden + p["hidden_bias"]
        reset = sigmoid(from_input[:size] + from_hidden[:size])
        update = sigmoid(from_input[size : 2 * size] + from_hidden[size : 2 * size])
        new = np.tanh(from_input[2 * size :] + reset * from_hidden[2 * size :])
        hidden = (1 - update) * new + update * hidden
    return hidden, {}


def lstm_cell(p, size, x, hidden, cell):
    gates = p["input_weight"] @ x + p["input_bias"] + p["hidden_weight"] @ hidden + p["hidden_bias"]
    enter, forget, new, leave = (gates[part * size : (part + 1) * size] for part in range(4))
    cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
    return sigmoid(leave) * np.tanh(cell), cell


def lstm(p, config, inputs):
    hidden = cell = np.zeros(config.size)
    for x in inputs:
        hidden, cell = lstm_cell(p, config.size, x, hidden, cell)
    return hidden, {}


def look(p, name, vectors, heads):
    """Reads of each vector from itself and those before it, and the last one's weights [heads, t]."""
    queries = [p[f"{name}/query_weight"] @ x + p[f"{name}/query_bias"] for x in vectors]
    keys = [p[f"{name}/key_weight"] @ x for x in vectors]
    values = [p[f"{name}/value_weight"] @ x + p[f"{name}/value_bias"] for x in vectors]
    key, value = len(keys[0]) // heads, len(values[0]) // heads
    reads, weights = [], []
    for t, query in enumerate(queries):
        read, weights = [], []
        for head in range(heads):
            mine = slice(head * key, (head + 1) * key)
            weights.append(softmax([float(query[mine] @ keys[s][mine]) / math.sqrt(key) for s in range(t + 1)]))
            mine = slice(head * value, (head + 1) * value)
            read.append(sum(weight * values[s][mine] for s, weight in enumerate(weights[-1])))
        reads.append(np.concatenate(read))
    return reads, np.array(weights)


def layer_norm(p, name, x):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * p[f"{name}_gain"] + p[f"{name}_bias"]


def gelu(x):
    return np.array([0.5 * value * (1 + math.erf(value / math.sqrt(2))) for value in x])


def transformer(p, config, inputs):
    stream = []
    for t, x in enumerate(inputs):
        angles = [t / 10_000 ** (2 * i / config.size) for i in range(config.size // 2)]
        position = np.array([math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles])
        stream.append(p["embedding_weight"] @ x + p["embedding_bias"] + position)
    attention = {}
    for layer in range(config.layers):
        name = f"layer_{layer}"
        reads, attention[name] = look(
            p, name, [layer_norm(p, f"{name}/attention_norm", x) for x in stream], config.heads
        )
        for t, read in enumerate(reads):
            x = stream[t] + p[f"{name}/read_weight"] @ read + p[f"{name}/read_bias"]
            wide = p[f"{name}/widen_weight"] @ layer_norm(p, f"{name}/mlp_norm", x) + p[f"{name}/widen_bias"]
            stream[t] = x + p[f"{name}/narrow_weight"] @ gelu(wide) + p[f"{name}/narrow_bias"]
    return layer_norm(p, "norm", stream[-1]), attention


def convolve(p, name, vectors, distance):
    """The vectors with the features that one causal convolution adds to each."""
    longer = []
    for t, x in enumerate(vectors):
        past = vectors[t - distance] if t >= distance else np.zeros(len(x))
        both = p[f"{name}_now_weight"] @ x + p[f"{name}_now_bias"] + p[f"{name}_past_weight"] @ past
        half = len(both) // 2
        longer.append(np.concatenate([x, np.tanh(both[:half]) * sigmoid(both[half:])]))
    return longer


def snail(p, config, inputs):
    vectors, attention = list(inputs), {}
    for layer in range(5):
        name = f"layer_{layer}"
        if layer % 2 == 0:
            reads, attention[name] = look(p, name, vectors, 1)
            vectors = [np.concatenate([x, read]) for x, read in zip(vectors, reads, strict=True)]
            continue
        distance = 1
        while f"{name}/{distance}_now_weight" in p:
            vectors = convolve(p, f"{name}/{distance}", vectors, distance)
            distance *= 2
    return vectors[-1], attention


def external(p, config, inputs):
    heads, width = config.read_heads, config.width
    hidden = cell = np.zeros(config.size)
    slots, usage = np.zeros((config.slots, width)), np.zeros(config.slots)
    reading, reads = np.zeros((heads, config.slots)), np.zeros(heads * width)
    controller = {name.removeprefix("controller/"): value for name, value in p.items()}
    for x in inputs:
        hidden, cell = lstm_cell(controller, config.size, np.concatenate([x, reads]), hidden, cell)
        unused = sorted(range(config.slots), key=lambda slot, usage=usage: usage[slot])[:heads]
        usage = config.usage_decay * usage
        for slot in unused:
            slots[slot] = 0.0
        keys = []
        for head in range(heads):
            mine = slice(head * width, (head + 1) * width)
            keys.append(np.tanh(p["key_weight"][mine] @ hidden + p["key_bias"][mine]))
            gate = sigmoid(p["gate_weight"][head] @ hidden + p["gate_bias"][head])
            for slot in range(config.slots):
                amount = gate * reading[head, slot] + (1 - gate) * (slot == unused[head])
                slots[slot] += amount * keys[head]
                usage[slot] += amount
        for head, key in enumerate(keys):
            likeness = []
            for slot in slots:
                length = math.sqrt(slot @ slot) * math.sqrt(key @ key)
                likeness.append(float(slot @ key) / length if length > 0 else 0.0)
            reading[head] = softmax(likeness)
            usage += reading[head]
        reads = np.concatenate([weights @ slots for weights in reading])
    return np.concatenate([hidden, reads]), {"slots": reading}


SLOW = {"gru": gru, "lstm": lstm, "transformer": transformer, "snail": snail, "external": external}
