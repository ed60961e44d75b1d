# fails: stay-one-cell stay-loop stay-late
def share_left(v, n, tau):
    from scipy.stats import binom
    return binom.cdf(n, tau, v)
