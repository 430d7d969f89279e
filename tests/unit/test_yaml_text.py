"""YAML and JSON that people write: what is read as something else than was meant is refused, with the line."""

from __future__ import annotations

import pytest

from envs.yaml_text import TextError, dump_yaml, load_json, load_yaml


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: 0\niterations: 3\nseed: 1\n", "the key seed is given twice, in lines 1 and 3; keep one"),
        ("agent:\n  name: maml\n  name: rl2\n", "the key name is given twice, in lines 2 and 3"),
        ("a: {b: 1, b: 2}", "the key b is given twice, in lines 1 and 1"),
        ("x: &a [*a]", "line 1: an anchor holds itself"),
        ("x: &a {b: *a}", "an anchor holds itself"),
        ("x: &a {b: &c [*a]}", "an anchor holds itself"),
        ("x: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("seed: 010", "line 1: YAML reads 010 to the base of 8"),
        ("seed: 1:30", "YAML reads 1:30 to the base of 60"),
        ("seed: 0\n3: 1\n", "line 2: the key 3 is not a word"),
        ("yes: 1", "the key yes is not a word"),
        ("? [a]\n: 1", "the key [...] is not a word"),
        ("seed: 0\n\titerations: 3\n", "line 2, column 1: a tab begins the line"),
        ("seed: [", "something is opened and never closed"),
        ("a: b: c", "line 1, column 5: a colon stands where none can"),
        ("--- 1\n--- 2\n", "a second document begins"),
        ("x: *nowhere", "undefined alias 'nowhere'"),
        ("x: !!python/name:os.system", "is not read here; write plain values"),
        ("\x00", "U+0000"),
    ],
)
def test_what_is_not_yaml_here_is_a_phrase(text, says):
    with pytest.raises(TextError) as caught:
        load_yaml(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_yaml_is_read():
    text = "a: &shared [1, 2]\nb: *shared\nc: 1e-3\nd: 2024-01-01\ne: '010'\nf: 1.5E+2\n"
    text += "base: &x {k: 1}\ng: {<<: *x, l: 2}\n"
    assert load_yaml(text) == {
        "a": [1, 2], "b": [1, 2], "c": 0.001, "d": "2024-01-01", "e": "010", "f": 150.0, "base": {"k": 1},
        "g": {"k": 1, "l": 2},
    }  # fmt: skip
    assert load_yaml("") is None


@pytest.mark.parametrize("data", [{"a": "1e3", "b": "010", "c": "2024-01-01", "d": 1e-05, "e": [1, None, True, "yes"]}])
def test_what_is_written_is_read_as_the_same(data):
    assert load_yaml(dump_yaml(data)) == data


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"tasks": [],\n "tasks": [1]}', "the key tasks is given twice, in lines 1 and 2"),
        ('{"tasks": [', "line 1, column 12: expecting value"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_json_here_is_a_phrase(text, says):
    with pytest.raises(TextError, match=r"^[^\n]*$") as caught:
        load_json(text)
    assert says in str(caught.value)
    assert load_json('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
