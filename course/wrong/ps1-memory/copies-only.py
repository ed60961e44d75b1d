# fails: backwards-far backwards-forgets
def before(h, F):
    return h.roll(1, dims=1)
