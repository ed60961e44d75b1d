# fails: stay-late
def share_left(v, n, tau):
    return sum(math.comb(tau, k) * v**k * (1 - v) ** (tau - k) for k in range(min(n, tau + 1)))
