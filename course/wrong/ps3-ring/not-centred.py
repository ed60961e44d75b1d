# fails: travel-shift travel-left travel-widens
def travel(w):
    n = len(w)
    k = torch.arange(n)
    k = torch.where(k > n // 2, k - n, k).to(w)
    share = w / w.sum()
    return torch.stack([(share * k).sum(), (share * k**2).sum()])
