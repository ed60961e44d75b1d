# fails: stay-loop stay-late
def share_left(v, n, tau):
    if tau < n - 1:
        return 0.0
    ways = math.lgamma(tau + 1) - math.lgamma(n) - math.lgamma(tau - n + 2)
    return math.exp(ways + (n - 1) * math.log(v) + (tau - n + 1) * math.log1p(-v))
