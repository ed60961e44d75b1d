# fails: networks-right
def choices():
    return [48, 3e-3, 60, 5]
