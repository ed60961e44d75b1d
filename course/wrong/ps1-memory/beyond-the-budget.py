# fails: networks-begin networks-right
def choices():
    return [64, 3e-3, 1200, 5, 10, 40]
