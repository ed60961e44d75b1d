# fails: pulse-late
def pulse(v, k, t):
    if t < k:
        return 0.0
    ways = float(math.factorial(t - 1)) / float(math.factorial(k - 1) * math.factorial(t - k))
    return ways * v**k * (1 - v) ** (t - k)
