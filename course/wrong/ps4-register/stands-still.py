# fails: velocity-shape velocity-good
def learn(K, cells):
    free, w = torch.tensor(0.0, requires_grad=True), torch.zeros(cells, requires_grad=True)
    return torch.cat([free[None], w]).detach()
