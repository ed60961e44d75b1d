# fails: decay-limits
def still_positive(a, lam, sigma, t):
    spread = sigma * math.sqrt((1 - lam ** (2 * t)) / (1 - lam**2))
    return 0.5 * math.erfc(-a * lam**t / (spread * math.sqrt(2)))
