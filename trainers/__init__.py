"""How it is run: sampling, the meta-training loop, evaluation, run folders, the command. Names no algorithm or family."""
