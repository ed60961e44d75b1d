# fails: backwards-forgets
def before(h, F):
    d = F.shape[0]
    newest = h[:, -1] - h[:, :-1].flatten(1) @ F[:, d:].T
    return torch.cat([(newest @ torch.linalg.pinv(F[:, :d]).T)[:, None], h[:, :-1]], dim=1)
