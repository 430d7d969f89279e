"""How it is run: sampling, meta-training, evaluation, run folders, the command. Names no algorithm or family."""
