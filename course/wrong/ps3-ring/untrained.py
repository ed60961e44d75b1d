# fails: ring-recalls ring-honest
def learn(start):
    return network(start, seed % 10**6)
