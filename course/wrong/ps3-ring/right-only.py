# fails: travel-left travel-widens
def travel(w):
    k = torch.arange(len(w)).to(w)
    share = w / w.sum()
    velocity = (share * k).sum()
    return torch.stack([velocity, (share * (k - velocity) ** 2).sum()])
