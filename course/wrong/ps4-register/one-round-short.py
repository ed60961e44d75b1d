# fails: scan-all scan-rounds
def scan(A, x):
    both = two_in_one(A[:-1], x[:-1], A[1:], x[1:])
    return torch.cat([x[:1], both[..., -1]])
