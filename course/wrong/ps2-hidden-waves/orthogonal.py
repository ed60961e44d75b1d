# fails: projector-commutes
def lasting_part(W, r):
    values, vectors = torch.linalg.eig(W)
    basis = torch.linalg.qr(torch.cat([vectors[:, values.abs() > r].real, vectors[:, values.abs() > r].imag], 1))[0]
    U, S, _ = torch.linalg.svd(torch.cat([vectors[:, values.abs() > r].real, vectors[:, values.abs() > r].imag], 1))
    U = U[:, : int((S > 1e-9).sum())]
    return U @ U.T
