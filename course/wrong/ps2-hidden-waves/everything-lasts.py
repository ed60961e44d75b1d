# fails: projector-diagonal projector-idempotent
def lasting_part(W, r):
    return torch.eye(len(W))
