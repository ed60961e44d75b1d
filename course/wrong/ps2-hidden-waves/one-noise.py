# fails: decay-accumulates decay-limits
def still_positive(a, lam, sigma, t):
    return 0.5 * math.erfc(-a * lam**t / (sigma * math.sqrt(2)))
