"""Command lines that cannot be read, as sentences: Typer's own errors in the form of all others."""

from __future__ import annotations

from typing import Any

import typer
from pydantic import ValidationError

from envs.validation import nearest

# Typer brings its own copy of click, or uses the installed one, by its version: the classes are those above its own.
UsageError: Any = typer.BadParameter.__base__
ClickException: Any = UsageError.__base__

# By pydantic's type of error, as Typer uses it.
_EXPECTED = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "greater_than_equal": "a number",
    "less_than_equal": "a number",
    "float_parsing": "a number",
    "bool_parsing": "yes or no",
}


def usage_sentence(error: Any) -> str:
    """One sentence for a command line that could not be read: what is wrong, and what to write."""
    command = error.ctx.command_path if getattr(error, "ctx", None) is not None else "acclimate"
    kind, message = type(error).__name__, error.format_message().replace("\n", " ").strip()
    see = f"see {command} --help"
    if kind == "MissingParameter" or message.startswith("Missing"):
        return f"{command} needs {_parameter(error)}; {see}"
    if kind == "NoSuchOption" or message.startswith("No such option"):
        return _no_such_option(error, command, see)
    if kind == "BadOptionUsage" or message.endswith("requires an argument."):
        option = getattr(error, "option_name", None) or "the last option"
        if "does not take a value" in message:
            return f"{option} takes no value; write it alone ({see})"
        return f"{option} stands without a value; write {option} VALUE, or leave it out ({see})"
    if message.startswith("No such command"):
        word = message.split("'")[1] if "'" in message else message
        return f"there is no command {word}; {nearest(word, _commands(error))}"
    if message.startswith("Got unexpected extra argument"):
        words = message.rpartition("(")[2].rstrip(").")
        return f"{command} does not know what to do with {words}; {see}"
    if kind == "BadParameter" or message.startswith("Invalid value"):
        return f"{_bad_value(error, message)} ({see})"
    return f"{message[:1].lower()}{message[1:].rstrip('.')}; {see}"


def _commands(error: Any) -> list[str]:
    return list(getattr(error.ctx.command, "commands", {})) if error.ctx is not None else []


def _parameter(error: Any) -> str:
    """A parameter by what a user writes for it, with its meaning: RUN (a run folder)."""
    parameter = error.param
    if parameter is None:
        return str(error.param_hint or "an argument").replace("'", "")
    name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.name.upper()
    meaning = getattr(parameter, "help", None)
    return f"{name} ({meaning})" if meaning else name


def _no_such_option(error: Any, command: str, see: str) -> str:
    name = str(error.option_name)
    known = [option for parameter in error.ctx.command.params for option in parameter.opts if option.startswith("--")]
    if command.split()[-1] in ("train", "resume", "new") and not _close(name, known):
        key = name.lstrip("-").replace("-", "_") or "key"
        return f"{command} has no option {name}; keys of a recipe are written without dashes, {key}=VALUE ({see})"
    return f"{command} has no option {name}; {nearest(name, known)} ({see})"


def _close(name: str, known: list[str]) -> bool:
    return nearest(name, known).startswith("did you mean")


def _bad_value(error: Any, message: str) -> str:
    name = _parameter(error).partition(" (")[0]
    bounds = _bounds(error.param)
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        first = cause.errors()[0]
        return (
            f"{name} is {first['input']!s}, but must be {_EXPECTED.get(first['type'], 'a value of its kind')}{bounds}"
        )
    return f"{name}: {(message.partition(': ')[2] or message).rstrip('.')}"


def _bounds(parameter: Any) -> str:
    """', 1 or more': the range of an option; "" where it has none."""
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f", {low} or more" if low is not None else f", {high} or less" if high is not None else ""


_LISTS = ("--runs", "--baselines")  # options that take as many values as follow


def with_lists(args: list[str]) -> list[str]:
    """The arguments with `--runs A B` as `--runs A --runs B`, which is how Click has options with many values."""
    expanded: list[str] = []
    option, given = None, 0
    for one in args:
        if one in _LISTS:
            option, given = one, 0
        elif one.startswith("-"):
            named = one.partition("=")[0]
            option, given = (named, 1) if named in _LISTS else (None, 0)
        elif option is not None:
            given += 1
            if given > 1:
                expanded.append(option)
        expanded.append(one)
    return expanded
