# fails: scan-two scan-all
def two_in_one(A, x, B, y):
    return torch.cat([A @ B, (B @ x[..., None]) + y[..., None]], dim=-1)
