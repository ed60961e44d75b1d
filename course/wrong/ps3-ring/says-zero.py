# fails: ring-honest
def report(moving, staying):
    return [recall(moving, 1), 0.0]
