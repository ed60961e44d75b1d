# fails: networks-begin networks-right
def choices():
    return [48, 1e-9, 1, 5]
