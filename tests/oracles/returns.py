"""Advantages of one row, step by step."""


def gae_loop(reward, value, next_value, terminated, truncated, gamma, gae_lambda):
    """A_t as the sum over later steps of (gamma * gae_lambda)^j d_{t+j}, cut at the episode's end."""
    advantages = []
    for t in range(len(reward)):
        total, factor = 0.0, 1.0
        for s in range(t, len(reward)):
            bootstrap = 0.0 if terminated[s] else next_value[s]
            total += factor * (reward[s] + gamma * bootstrap - value[s])
            if terminated[s] or truncated[s]:
                break
            factor *= gamma * gae_lambda
        advantages.append(total)
    return advantages
