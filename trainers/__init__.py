"""How it is run: sampling, meta-training, evaluation, run folders, the command. Names no algorithm or family."""

from pkgutil import extend_path

# A user's folder of this name without __init__.py is on the path as well, perhaps: its modules join ours (ADR 1).
__path__ = extend_path(__path__, __name__)
