# fails: regression-reads
def covectors(network):
    return torch.ones(9, network.N)
