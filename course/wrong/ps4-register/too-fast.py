# fails: velocity-good
def learn(K, cells):
    return torch.tensor([0.95] + [0.0] * (cells - 1) + [1.0])
