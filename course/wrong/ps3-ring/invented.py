# fails: ring-honest
def report(moving, staying):
    return [1.0, 1.0]
