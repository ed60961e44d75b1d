# fails: projector-diagonal projector-idempotent projector-commutes
def lasting_part(W, r):
    values, vectors = torch.linalg.eig(W)
    values = torch.where(values.abs() > r, values, 0)
    return (vectors * values @ torch.linalg.inv(vectors)).real
