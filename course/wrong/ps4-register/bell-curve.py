# fails: stay-one-cell stay-loop
def share_left(v, n, tau):
    return 0.5 * math.erfc((tau * v - n + 0.5) / math.sqrt(2 * v * (1 - v) * tau + 1e-12))
