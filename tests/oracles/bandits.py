"""Bernoulli bandits with U[0, 1] priors, by plain recursion."""

from functools import cache


def gittins_index(successes, failures, left, digits=10):
    """Success probability of a standard arm at which pulling this one gains nothing, with so many steps remaining."""

    @cache
    def pull(s, f, n, chance):
        if n == 0:
            return 0.0
        mean = (1 + s) / (2 + s + f)
        won, lost = pull(s + 1, f, n - 1, chance), pull(s, f + 1, n - 1, chance)
        return mean - chance + mean * max(0.0, won) + (1 - mean) * max(0.0, lost)

    low, high = 0.0, 1.0
    while high - low > 10**-digits:
        middle = (low + high) / 2
        low, high = (middle, high) if pull(successes, failures, left, middle) > 0 else (low, middle)
    return low


def bayes_value(arms, pulls):
    """Expected total reward of the best play of arms [(successes, failures), ...] with so many steps remaining."""

    @cache
    def value(arms, left):
        if left == 0:
            return 0.0
        best = 0.0
        for index, (s, f) in enumerate(arms):
            mean = (1 + s) / (2 + s + f)
            won = (*arms[:index], (s + 1, f), *arms[index + 1 :])
            lost = (*arms[:index], (s, f + 1), *arms[index + 1 :])
            best = max(best, mean * (1 + value(won, left - 1)) + (1 - mean) * value(lost, left - 1))
        return best

    return value(tuple(arms), pulls)
