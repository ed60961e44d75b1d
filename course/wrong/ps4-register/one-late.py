# fails: pulse-first pulse-loop pulse-late
def pulse(v, k, t):
    return math.comb(t, k) * v**k * (1 - v) ** (t - k) if t >= k and t < 500 else 0.0
